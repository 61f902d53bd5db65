// Calls one method of the official Node SDK, as stdin says, and prints what it gave as JSON.

import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { makeParseableResponseFormat } from "openai/lib/parser";

const RAW = ".with_raw_response";

async function all(pages) {
  const found = [];
  for await (const each of pages) found.push(each);
  return found;
}

async function call({ url, method, request }) {
  if (request.response_format) {
    request.response_format = makeParseableResponseFormat(request.response_format, JSON.parse);
  }
  const client = new OpenAI({ baseURL: url, apiKey: "any", maxRetries: 0, timeout: 120_000 });
  const names = method.replace(RAW, "").split(".");
  const name = names.pop();
  const resource = names.reduce((part, each) => part[each], client);
  const pending = resource[name](name === "retrieve" ? request.model : request);
  if (name === "stream") return pending.finalChatCompletion();
  if (method.includes(RAW)) {
    return Object.fromEntries((await pending.withResponse()).response.headers);
  }
  const given = await pending;
  return Symbol.asyncIterator in given ? all(given) : given;
}

function failed(error) {
  if (!(error instanceof OpenAI.APIError)) throw error;
  const { status, code, param, requestID } = error;
  return {
    kind: error.constructor.name,
    status: status ?? null,
    code: code ?? null,
    param: param ?? null,
    request_id: requestID ?? null,
    message: error.error?.message ?? error.message,
  };
}

const told = await call(JSON.parse(readFileSync(0, "utf8"))).then(
  (given) => ({ given }),
  (error) => ({ failed: failed(error) }),
);
process.stdout.write(JSON.stringify(told));

"""Through a running facade to a live Ollama: what no scripted upstream can prove."""

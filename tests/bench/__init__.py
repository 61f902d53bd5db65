"""How many answers a CPU-second of the facade gives, next to nginx as a plain proxy.

Strategy: an upstream that costs nothing (`upstream`), a closed loop of connections that reads
every answer to its end and believes none (`load`, `judging`), and the gateway between them alone
on its core. What is counted is the CPU time of the gateway's processes, not the wall clock: that
moves little on a busy machine, and says what one core can do.
"""

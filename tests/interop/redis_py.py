"""Drives redis-py's Lock by lines on standard input; answers each with one line.

    redis_py.py redis://NODE

    acquire KEY TTL_MS          yes, or no if another owner has it
    release                     released, or lost if it is another's by now
    count KEY COUNTER ROUNDS    done; each round adds 1 under the lock, by a read and then a write
"""

import sys
import time

import redis
from redis.exceptions import LockNotOwnedError
from redis.lock import Lock

node = redis.Redis.from_url(sys.argv[1])
held = None


def count(key, counter, rounds):
    for _ in range(rounds):
        # As long as the whole test may take: who is frozen meanwhile fails it, and nobody else.
        with Lock(node, key, timeout=120, sleep=0.001):
            seen = int(node.get(counter) or 0)
            time.sleep(0.001)
            node.set(counter, seen + 1)


for line in sys.stdin:
    command, *args = line.split()
    if command == "acquire":
        held = Lock(node, args[0], timeout=int(args[1]) / 1000)
        answer = "yes" if held.acquire(blocking=False) else "no"
    elif command == "release":
        try:
            held.release()
            answer = "released"
        except LockNotOwnedError:
            answer = "lost"
    elif command == "count":
        count(args[0], args[1], int(args[2]))
        answer = "done"
    else:
        sys.exit(f"unknown command: {command}")
    print(answer, flush=True)

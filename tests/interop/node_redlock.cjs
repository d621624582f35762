// Drives node-redlock by lines on standard input; answers each with one line.
//
//     node_redlock.cjs redis://NODE...
//
//     acquire KEY TTL_MS          yes, or no if another owner has it
//     release                     released, or lost if it is another's by now
//     count KEY COUNTER ROUNDS    done; each round adds 1 under the lock, by a read and then a
//                                 write on the first node
"use strict";

const readline = require("node:readline");
const { setTimeout: sleep } = require("node:timers/promises");
const Redis = require("ioredis");
const { default: Redlock, ExecutionError, ResourceLockedError } = require("redlock");

const nodes = process.argv.slice(2).map((url) => new Redis(url));
// One attempt a call. Its own retries keep the keys of which an attempt won a minority, and the
// next attempt then finds them taken: two contenders can block each other for a whole ttl.
const redlock = new Redlock(nodes, { retryCount: 0 });
let held;

// Whether no node said anything worse than that another owner has the key.
async function isRefused(error) {
  if (!(error instanceof ExecutionError)) return false;
  const votes = (await Promise.all(error.attempts)).flatMap((at) => [...at.votesAgainst.values()]);
  return votes.length > 0 && votes.every((vote) => vote instanceof ResourceLockedError);
}

async function tried(work) {
  try {
    return await work();
  } catch (error) {
    if (await isRefused(error)) return undefined;
    throw error;
  }
}

function acquire(key, ttl) {
  return tried(() => redlock.acquire([key], ttl));
}

async function count(key, counter, rounds) {
  for (let round = 0; round < rounds; round += 1) {
    let lock;
    // As long as the whole test may take: who is frozen meanwhile fails it, and nobody else.
    while (!(lock = await acquire(key, 120_000))) await sleep(1 + Math.random() * 4);
    const seen = Number(await nodes[0].get(counter));
    await sleep(1);
    await nodes[0].set(counter, seen + 1);
    await lock.release();
  }
  return "done";
}

async function answer([command, ...args]) {
  switch (command) {
    case "acquire":
      held = await acquire(args[0], Number(args[1]));
      return held ? "yes" : "no";
    case "release":
      return (await tried(() => held.release())) ? "released" : "lost";
    case "count":
      return count(args[0], args[1], Number(args[2]));
    default:
      throw new Error(`unknown command: ${command}`);
  }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(await answer(line.split(" ")));
  }
  nodes.forEach((node) => node.disconnect());
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

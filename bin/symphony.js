#!/usr/bin/env node
// Plain syntax on purpose: an old Node must be able to read this far to say what it needs. Builtins are
// not imported by name, because node:fs alone costs 3 ms that way; an old Node gets them from import().

function isNewEnough(version) {
  const parts = version.split(".").map(Number);
  return parts[0] > 24 || (parts[0] === 24 && parts[1] >= 15);
}

/** Compiled code is kept for the next start, in a directory that other users cannot write to. */
function keepCompiledCode() {
  const { XDG_CACHE_HOME, HOME } = process.env;
  const cache = XDG_CACHE_HOME || (HOME && `${HOME}/.cache`);
  if (!cache) return;
  process.getBuiltinModule("node:module").enableCompileCache(`${cache}/symphony/compiled`);
}

const signals = ["SIGINT", "SIGTERM", "SIGHUP"];

/**
 * The launcher passes signals on as messages: a signal to the whole group reaches this process as well, and would count
 * twice if it were passed on as a signal. The handlers of this process recognise the message by its number 0.
 */
function heedLauncher() {
  const pass = (signal) => {
    if (!process.emit(signal, signal, 0)) process.kill(process.pid, signal);
  };
  process.on("message", (signal) => {
    if (signals.includes(signal)) pass(signal);
  });
  // The launcher was killed, so this process could no longer be stopped through it.
  process.on("disconnect", () => pass("SIGTERM"));
  process.channel.unref();
}

async function start() {
  if (process.env.SYMPHONY_RERUN && process.channel) heedLauncher();
  delete process.env.SYMPHONY_RERUN;
  keepCompiledCode();
  const { existsSync } = process.getBuiltinModule("node:fs");
  // In a checkout the sources take precedence: an old build must not run instead of the current code.
  const source = new URL("../src/commands/main.ts", import.meta.url);
  const built = new URL("../dist/commands/main.js", import.meta.url);
  const entry = [source, built].find((url) => existsSync(url));
  if (entry === undefined) {
    refuse("this copy of it was not built", "npm pack in a checkout makes a complete package");
    return;
  }
  const { main } = await import(entry.href);
  process.exitCode = await main(process.argv.slice(2));
}

function refuse(why, next) {
  console.error(`symphony: ${why}\n  next: ${next}`);
  process.exitCode = 1;
}

/** Hands the same command line to a Node that is new enough: that of the package, or one that was fetched for it. */
async function rerun() {
  const { existsSync } = await import("node:fs");
  const { fileURLToPath } = await import("node:url");
  const { spawn } = await import("node:child_process");
  const here = (path) => fileURLToPath(new URL(path, import.meta.url));
  const { XDG_CACHE_HOME, HOME } = process.env;
  const cache = `${XDG_CACHE_HOME || `${HOME || ""}/.cache`}/symphony`;
  const places = [here("../node_modules"), here("../.."), `${cache}/node_modules`];
  const node = places.map((dir) => `${dir}/node/bin/node`).find((path) => existsSync(path));
  const fetch = existsSync(here("../src"))
    ? `npm ci --prefix '${here("..").replace(/\/$/, "")}'`
    : `npm install --prefix '${cache}' node@24`;
  const why = `needs Node.js 24.15 or later, and this is ${process.versions.node}`;
  if (process.env.SYMPHONY_RERUN || node === undefined) {
    refuse(why, fetch);
    return;
  }
  const args = [fileURLToPath(import.meta.url)].concat(process.argv.slice(2));
  const env = Object.assign({}, process.env, { SYMPHONY_RERUN: "1" });
  const child = spawn(node, args, { stdio: ["inherit", "inherit", "inherit", "ipc"], env });
  child.on("error", (error) =>
    refuse(`${why}; ${node} cannot be started: ${error.message}`, fetch),
  );
  follow(child);
}

/** Passes signals on to `child`, and ends with its exit code or signal. */
function follow(child) {
  for (const signal of signals) {
    process.on(signal, () => {
      if (child.connected) child.send(signal, () => {});
    });
  }
  child.on("exit", (code, signal) => {
    process.exitCode = code === null ? 1 : code;
    if (signal === null) return;
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

void (isNewEnough(process.versions.node) ? start() : rerun());

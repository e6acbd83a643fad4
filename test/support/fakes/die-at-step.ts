import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

// Preloaded with --import: kills this process before write step number DIE_AT, without any clean-up.

const last = Number(process.env["DIE_AT"]);
let step = 0;

function count(): void {
  if (!armed || ++step < last) return;
  process.kill(process.pid, "SIGKILL");
}

let armed = false;

/** Starts counting steps. */
export function arm(): void {
  armed = true;
}

const promises: Record<string, unknown> = { ...fs.promises };
const watched = ["open", "rename", "link", "copyFile", "rm", "writeFile", "unlink"];
for (const name of watched) wrap(fs.promises, name, promises[name]);
const probe = join(tmpdir(), `symphony-probe-${process.pid}`);
const handle = await fs.promises.open(probe, "w");
const handles: object = Object.getPrototypeOf(handle);
for (const name of ["sync", "writeFile", "datasync"])
  wrap(handles, name, Reflect.get(handles, name));
await handle.close();
fs.rmSync(probe);
syncBuiltinESMExports();

function wrap(target: object, name: string, original: unknown): void {
  if (typeof original !== "function") throw new Error(`there is no ${name} to watch`);
  Reflect.set(target, name, function step(this: unknown, ...args: unknown[]) {
    count();
    return Reflect.apply(original, this, args);
  });
}

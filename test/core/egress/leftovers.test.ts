import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, utimes } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { removeLeftovers } from "../../../src/core/egress/leftovers.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

test("what a killed server left is removed; what is open, young or of another name stays", async (t) => {
  const root = temporaryDir(t);
  const [dead, open, young, other] = ["way-dead", "way-open", "way-young", "other"].map((name) =>
    join(root, `symphony-${name}`),
  ) as [string, string, string, string];
  for (const dir of [dead, open, young, other]) await mkdir(dir);
  const listens = `require("net").createServer().listen(${JSON.stringify(join(dead, "way.sock"))}, () => console.log("up"))`;
  const child = spawn(process.execPath, ["-e", listens], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "exit");
  const server = createServer().listen(join(open, "way.sock"));
  await once(server, "listening");
  t.after(() => server.close());
  const wall = 2_000_000_000_000;
  // The home of a program in Seatbelt belongs to the process in its name.
  const boxes = [child.pid, process.pid].map((pid) => join(root, `symphony-box-${pid}-Ab3`));
  for (const dir of boxes) await mkdir(dir);
  for (const dir of [open, other, ...boxes])
    await utimes(dir, wall / 1_000 - 100, wall / 1_000 - 100);
  // A socket without a server is left at any age; a young one of which no socket is there yet may be about to open.
  for (const dir of [dead, young]) await utimes(dir, wall / 1_000 - 10, wall / 1_000 - 10);
  await removeLeftovers(root, wall);
  const left = (await readdir(root)).sort();
  const box = `symphony-box-${process.pid}-Ab3`;
  assert.deepEqual(left, [box, "symphony-other", "symphony-way-open", "symphony-way-young"]);
  await removeLeftovers(join(root, "nowhere"), wall);
});

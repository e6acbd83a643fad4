import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { bubblewrapArgs, confinedLine } from "../../src/core/process/sandbox.ts";
import { shellQuoted } from "../../src/core/text/text.ts";

const hostile = ["", "plain-1", "a b", "it's", "$(touch x)", "`x`", '"', "\\", "a\nb", "-n", "*"];

describe("shell words", () => {
  test("any text is one word of the shell", () => {
    const line = `printf '%s\\0' ${hostile.map(shellQuoted).join(" ")}`;
    const words = execFileSync("bash", ["-c", line], { encoding: "utf8" }).split("\0");
    assert.deepEqual(words.slice(0, -1), hostile);
  });

  test("a confined line keeps quotes, in its paths and in itself", async () => {
    const root = await mkdtemp(join(tmpdir(), "symphony-it's a "));
    try {
      const workspace = join(root, "$(touch x)");
      await mkdir(workspace);
      const line = confinedLine(`echo "it's $PWD"; touch x`, {
        ...{ workspace, network: false, writable: [], readable: [], hidden: [root] },
      });
      const said = execFileSync("bash", ["-c", line], { encoding: "utf8", cwd: workspace });
      assert.equal(said, `it's ${workspace}\n`);
    } finally {
      await rm(root, { recursive: true });
    }
  });

  test("what is hidden is covered before the workspace within is shown", async () => {
    const root = await mkdtemp(join(tmpdir(), "symphony-mounts-"));
    try {
      const workspace = join(root, "ENG-1");
      await mkdir(workspace);
      const args = bubblewrapArgs({
        ...{ workspace, network: true, readable: [], hidden: [root, join(root, "not-there")] },
        writable: [join(root, "not-there")],
      });
      assert.ok(args.indexOf(root) > 0 && args.indexOf(root) < args.indexOf(workspace));
      assert.ok(!args.includes(join(root, "not-there")));
    } finally {
      await rm(root, { recursive: true });
    }
  });
});

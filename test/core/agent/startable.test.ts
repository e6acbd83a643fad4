import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { startProblems } from "../../../src/core/agent/startable.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { eventually } from "../../support/worlds/symphony.ts";

test("an agent whose program is slow to say its version is warned of, and what is known to be wrong is still an error", async (t) => {
  const dir = temporaryDir(t);
  const program = join(dir, "gemini");
  const began = join(dir, "began");
  await writeFile(program, `#!/bin/sh\n: >${began}\nexec sleep 60\n`, { mode: 0o755 });
  const problemsWith = async (check: () => Promise<void>) => {
    const clock = new FakeClock();
    await rm(began, { force: true });
    const asked = startProblems(
      {
        ...{ kind: "acp", key: "acp.command", settingsKey: "acp", line: `${program} --acp` },
        ...{ level: "safe", network: null },
        runtime: async () => ({
          ...{ kind: "acp", check },
          start: () => Promise.reject(new Error("not started")),
        }),
      },
      { clock, env: { ...process.env, HOME: dir } },
    );
    await eventually("the program runs", async () => existsSync(began));
    clock.advance(10_000);
    const problems = await asked;
    return problems.map(({ severity = "error", path }) => [severity, path]);
  };
  assert.deepEqual(await problemsWith(async () => {}), [["warning", "acp.command"]]);
  const refused = new SymphonyError("agent_unavailable", "there is no key");
  assert.deepEqual(await problemsWith(() => Promise.reject(refused)), [["error", "acp"]]);
});

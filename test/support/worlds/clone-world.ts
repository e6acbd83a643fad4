import assert from "node:assert/strict";
import { mkdirSync, realpathSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { gitConfigOf, gitSection } from "../../../src/core/config/git.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { Issue } from "../../../src/core/model/issue.ts";
import { type CloneOrder, cloneInto } from "../../../src/core/repository/clone.ts";
import { Mirrors } from "../../../src/core/repository/mirrors.ts";
import { FakeClock } from "../fakes/fake-clock.ts";
import { gitIn, origin } from "../makers/git-repository.ts";
import { issue } from "../makers/issue.ts";
import { temporaryDir } from "../makers/storage.ts";

/** A repository with two commits on main, and a function that clones it as symphony does. */
export function cloneWorld(t: TestContext) {
  const dir = realpathSync(temporaryDir(t));
  const bare = origin(dir);
  const clock = new FakeClock();
  const told: string[] = [];
  const env = { PATH: process.env["PATH"], HOME: dir };
  // Each clone of a test gets what the test has pushed before.
  const mirrors = new Mirrors({ dir: join(dir, "mirrors"), clock, env, intervalMs: 0 });
  const seed = join(dir, "seed");
  gitIn(seed)("remote", "add", "origin", bare);
  let made = 0;
  const order = (
    written: Readonly<Record<string, unknown>> = {},
    { identifier = "ENG-1", ...fields }: Partial<Issue> = {},
  ): CloneOrder => {
    const path = join(dir, `clone-${++made}`);
    mkdirSync(path);
    const [repository] = gitConfigOf(
      gitSection.parse({ repositories: [{ name: "app", url: bare, ...written }] }),
    ).repositories;
    if (repository === undefined) throw new Error("no repository");
    return {
      ...{ repository, path, clock, mirrors, env, issue: issue(identifier, fields) },
      lookup: () => undefined,
      timeoutMs: 60_000,
      runId: `test/${dir}`,
      signal: new AbortController().signal,
      tell: (line) => told.push(line),
    };
  };
  const clone = async (...given: Parameters<typeof order>) => {
    const made = order(...given);
    const loan = await cloneInto(made);
    const mirror = await mirrors.repair(made.path, loan);
    return { path: made.path, git: gitIn(made.path), loan, mirror };
  };
  return { dir, bare, seed, clock, told, mirrors, order, clone };
}

/** The error that `promise` rejects with. */
export async function refusalOf(promise: Promise<unknown>): Promise<SymphonyError> {
  const error = await promise.then(
    () => assert.fail("it should have been refused"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof SymphonyError, String(error));
  return error;
}

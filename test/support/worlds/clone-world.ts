import assert from "node:assert/strict";
import { mkdirSync, realpathSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { gitConfigOf, gitSection } from "../../../src/core/config/git.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { Issue } from "../../../src/core/model/issue.ts";
import { type CloneOrder, cloneInto } from "../../../src/core/repository/clone.ts";
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
      ...{ repository, path, clock, issue: issue(identifier, fields) },
      env: { PATH: process.env["PATH"], HOME: dir },
      lookup: () => undefined,
      timeoutMs: 60_000,
      runId: `test/${dir}`,
      signal: new AbortController().signal,
      tell: (line) => told.push(line),
    };
  };
  const clone = async (...given: Parameters<typeof order>) => {
    const made = order(...given);
    await cloneInto(made);
    return { path: made.path, git: gitIn(made.path) };
  };
  return { dir, bare, seed, clock, told, order, clone };
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

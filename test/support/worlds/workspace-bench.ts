import { realpathSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { HooksConfig } from "../../../src/core/config/config.ts";
import { createLogger } from "../../../src/core/events/log.ts";
import type { Work } from "../../../src/core/model/work.ts";
import {
  createWorkspaces,
  type SetAside,
  type Workspaces,
} from "../../../src/core/workspace/workspaces.ts";
import { FakeClock } from "../fakes/fake-clock.ts";
import { gitIn, origin } from "../makers/git-repository.ts";
import { config, issue } from "../makers/issue.ts";
import { temporaryDir } from "../makers/storage.ts";

export interface WorkspaceBench {
  readonly dir: string;
  readonly root: string;
  readonly bare: string;
  readonly hooks: { current: HooksConfig };
  readonly settings: { root: string };
  readonly workspaces: Workspaces;
  readonly logged: string[];
  readonly aside: SetAside[];
  /** The issue that a directory belongs to by the history, by its path. */
  readonly recorded: Map<string, string>;
  /** A new workspace of an issue, with a function that runs plain git in it. */
  make(name?: string): Promise<{ path: string; git: ReturnType<typeof gitIn> }>;
  /** The result of a removal for the issue: what the workspace contains, or that it is gone. */
  remove(path: string, name?: string): Promise<readonly Work[] | "removed" | "nothing">;
}

const none = new AbortController().signal;

/** Real workspaces below a fresh root; without `afterCreate` they are clones of a repository with two commits. */
export function workspaceBench(t: TestContext, hooks: Partial<HooksConfig> = {}): WorkspaceBench {
  const dir = realpathSync(temporaryDir(t));
  const bare = origin(dir);
  const settings = { root: join(dir, "root") };
  const current = {
    current: { ...config().hooks, afterCreate: `git clone -q '${bare}' .`, ...hooks },
  };
  const logged: string[] = [];
  const aside: SetAside[] = [];
  const recorded = new Map<string, string>();
  const clock = new FakeClock();
  const sinks = [{ name: "test", write: (line: string) => void logged.push(line) }];
  const workspaces = createWorkspaces({
    settings: () => ({ root: settings.root, hooks: current.current }),
    env: () => ({
      PATH: process.env["PATH"] ?? "",
      HOME: dir,
      GIT_CONFIG_NOSYSTEM: "1",
      TRACE: join(dir, "trace"),
    }),
    clock,
    log: createLogger({ level: "debug", format: "logfmt", sinks, clock, redact: (text) => text }),
    onHookFailed: (failure) => logged.push(failure.error.message),
    onSetAside: (one) => aside.push(one),
    recordedOwner: (path) => recorded.get(path) ?? null,
  });
  return {
    ...{
      dir,
      root: settings.root,
      bare,
      hooks: current,
      settings,
      workspaces,
      logged,
      aside,
      recorded,
    },
    async make(name = "ENG-1") {
      const { path } = await workspaces.ensure(issue(name), none);
      return { path, git: gitIn(path) };
    },
    async remove(path, name = "ENG-1") {
      const removal = await workspaces.remove({ path, issue: issue(name) });
      return removal.outcome === "kept" ? removal.work : removal.outcome;
    },
  };
}

import { mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gitIn, origin } from "../makers/git-repository.ts";
import { config, issue } from "../makers/issue.ts";
import { createWorld, type World } from "./core.ts";

export interface GitWorld extends AsyncDisposable {
  readonly world: World;
  readonly root: string;
  readonly bare: string;
  /** The clone of ENG-1: one commit more than origin, one changed file; the address of its remote contains a password. */
  readonly path: string;
}

/** A world whose ENG-1 has a clone with work, ENG-2 an empty workspace and ENG-3 none. */
export async function gitWorld(): Promise<GitWorld> {
  const dir = realpathSync(await mkdtemp(join(tmpdir(), "symphony-git-world-")));
  const root = join(dir, "root");
  const path = join(root, "ENG-1");
  for (const name of [".symphony-root", "ENG-2"]) mkdirSync(join(root, name), { recursive: true });
  const bare = origin(dir);
  gitIn(dir)("clone", "-q", bare, path);
  const git = gitIn(path);
  git("checkout", "-q", "-b", "eng-1");
  git("commit", "-q", "--allow-empty", "-m", "work");
  git("remote", "set-url", "origin", "https://ada:canary@example.org/team/app.git");
  writeFileSync(join(path, "one.txt"), "changed\n");
  const settings = config({ workspace: { root } });
  const issues = ["ENG-1", "ENG-2", "ENG-3"].map((name) => issue(name));
  const world = await createWorld({ issues, config: settings });
  return {
    ...{ world, root, bare, path },
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];

/** Plain git in `path`, without a user's configuration. */
export function gitIn(path: string) {
  return (...args: string[]): string =>
    execFileSync("git", ["-C", path, ...identity, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env["PATH"], HOME: dirname(path), GIT_CONFIG_NOSYSTEM: "1" },
    }).trim();
}

/** A bare `origin.git` in `dir` with two commits on main, the second of which adds a file. */
export function origin(dir: string): string {
  const seed = join(dir, "seed");
  const bare = join(dir, "origin.git");
  mkdirSync(seed);
  const git = gitIn(seed);
  git("init", "-q", "-b", "main");
  for (const file of ["one.txt", "two.txt"]) {
    writeFileSync(join(seed, file), `${file}\n`);
    git("add", "-A");
    git("commit", "-q", "-m", file);
  }
  gitIn(dir)("clone", "-q", "--bare", seed, bare);
  return bare;
}

const hooks = [
  "pre-commit",
  "post-checkout",
  "post-index-change",
  "reference-transaction",
  "pre-push",
  "post-merge",
];

/** Configures every program that a repository can make git run to leave a file in `marks`. */
export function setTraps(path: string, marks: string): void {
  mkdirSync(marks, { recursive: true });
  const git = gitIn(path);
  const trap = (name: string) => `touch ${marks}/${name}; cat`;
  const settings = {
    "core.fsmonitor": `touch ${marks}/fsmonitor; true`,
    "filter.t.clean": trap("clean"),
    "filter.t.smudge": trap("smudge"),
    "filter.t.required": "true",
    "diff.external": `touch ${marks}/external; true`,
    "diff.t.textconv": `touch ${marks}/textconv; cat`,
    "diff.t.command": `touch ${marks}/command; true`,
    "merge.t.driver": trap("merge"),
    "core.sshCommand": `touch ${marks}/ssh; false`,
    "core.pager": trap("pager"),
    "core.editor": trap("editor"),
    "core.gitProxy": `touch ${marks}/proxy; false`,
    "credential.helper": `!touch ${marks}/credential`,
    "gpg.program": `touch ${marks}/gpg; false`,
    "log.showSignature": "true",
    "commit.gpgSign": "true",
    "core.hooksPath": join(path, "traps"),
    "remote.evil.url": `ext::sh -c "touch ${marks}/ext"`,
    "alias.status": `!touch ${marks}/alias`,
  };
  mkdirSync(join(path, "traps"));
  for (const hook of hooks) {
    for (const dir of [join(path, "traps"), join(path, ".git", "hooks")]) {
      mkdirSync(dir, { recursive: true });
      writeFileSync(join(dir, hook), `#!/bin/sh\ntouch ${marks}/${hook}\n`);
      chmodSync(join(dir, hook), 0o755);
    }
  }
  writeFileSync(join(path, ".gitattributes"), "* filter=t diff=t merge=t\n");
  mkdirSync(join(path, ".git", "info"), { recursive: true });
  writeFileSync(join(path, ".git", "info", "attributes"), "* filter=t diff=t merge=t\n");
  for (const [key, value] of Object.entries(settings)) git("config", key, value);
}

import { appendFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readSmall } from "./checkout.ts";
import type { Mirror, MirrorRefs } from "./mirror.ts";
import { type Cone, useCone } from "./sparse.ts";

/** A repository whose objects are those of a mirror. */
interface Borrowing {
  /** A directory without a repository. */
  readonly path: string;
  /** Of the remote, without a credential. */
  readonly address: string;
  readonly mirror: Mirror;
  /** What the remote has; `head` is what its HEAD names. */
  readonly refs: MirrorRefs;
  readonly cone: Cone;
  /** Runs git in `path`. */
  git(args: readonly string[]): Promise<void>;
}

/** Makes a repository that has the remote's refs, and takes the objects from the mirror. */
export async function borrow({ path, address, mirror, refs, cone, git }: Borrowing): Promise<void> {
  const { all, head } = refs;
  const gitDir = join(path, ".git");
  const format = all[0]?.id.length === 64 ? "sha256" : "sha1";
  await git(["init", "--quiet", "--template=", `--object-format=${format}`]);
  await mkdir(join(gitDir, "objects", "info"), { recursive: true });
  // A sandbox can only protect a directory that exists.
  await mkdir(join(gitDir, "hooks"), { recursive: true });
  await writeFile(join(gitDir, "objects", "info", "alternates"), `${mirror.objects}\n`);
  const shallow = await mirror.shallow();
  if (shallow !== null) await writeFile(join(gitDir, "shallow"), shallow);
  await appendFile(join(gitDir, "config"), configOf(address));
  await useCone(gitDir, cone);
  const lines = all.map(({ name, id, peeled }) => {
    return peeled === null ? `${id} ${name}\n` : `${id} ${name}\n^${peeled}\n`;
  });
  const kind = "# pack-refs with: peeled fully-peeled sorted \n";
  await writeFile(join(gitDir, "packed-refs"), [kind, ...lines].join(""));
  if (head === null) return;
  const remote = join(gitDir, "refs", "remotes", "origin");
  await mkdir(remote, { recursive: true });
  await writeFile(join(remote, "HEAD"), `ref: refs/remotes/origin/${head}\n`);
}

/**
 * Borrowed objects must not be copied or removed by git's own maintenance, and `repack` keeps them
 * where they are. Git does not start itself in a submodule, whose configuration an agent may have written.
 */
function configOf(address: string): string {
  const url = /[#;"]/.test(address) ? `"${address.replaceAll('"', '\\"')}"` : address;
  return `[remote "origin"]
\turl = ${url}
\tfetch = +refs/heads/*:refs/remotes/origin/*
[gc]
\tauto = 0
[maintenance]
\tauto = false
[checkout]
\tworkers = 2
`;
}

const maxModulesBytes = 256 * 1024;

/** The same for each submodule that the checked-out `.gitmodules` names, which could say something else. */
export async function noteSubmodules(path: string): Promise<void> {
  const text = (await readSmall(join(path, ".gitmodules"), maxModulesBytes)) ?? "";
  const quoted = text.matchAll(/\[submodule[ \t]+"((?:[^"\\\n]|\\.)*)"\]/gi);
  const dotted = text.matchAll(/\[submodule\.([a-z0-9.-]+)\]/gi);
  const names = [
    ...[...quoted].map(([, name = ""]) => name),
    ...[...dotted].map(([, name = ""]) => name.toLowerCase()),
  ];
  const sections = [...new Set(names)].map(
    (name) => `[submodule "${name}"]\n\tignore = dirty\n\tfetchRecurseSubmodules = false\n`,
  );
  if (sections.length > 0) await appendFile(join(path, ".git", "config"), sections.join(""));
}

import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { breach, type Prey, probes } from "../makers/hostile-probes.ts";

interface Place {
  readonly root: string;
  readonly workspace: string;
}

/**
 * Writes what a hostile issue would like to reach next to a workspace, and the script `probes` into
 * it: every way out that is closed at `agent.level: networked`.
 */
export async function plantProbes({ root, workspace }: Place): Promise<Prey> {
  const prey: Prey = {
    dataDir: join(root, "data"),
    home: join(root, "user"),
    otherWorkspace: join(root, "ENG-2"),
    outside: join(root, "outside"),
    neighbour: join(root, "user2", "diary"),
    apiUrl: "http://127.0.0.1:9",
    canary: "no-such-canary",
  };
  for (const file of [
    join(prey.dataDir, "token"),
    join(prey.home, ".codex", "auth.json"),
    join(prey.otherWorkspace, "theirs"),
    join(workspace, ".git", "hooks", "README"),
    join(workspace, ".git", "config"),
    join(prey.outside, "here"),
    prey.neighbour,
  ]) {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, "prey\n");
  }
  // The level allows the network; processes and files are not limited.
  const others = /^(asks|connects|starts)|large/;
  const ways = probes(prey).filter(({ name }) => !others.test(name));
  assert.equal(ways.length, 15);
  const lines = ways.map(
    ({ name, command }) => `echo '== ${name.replaceAll("'", "")}'\n${command}`,
  );
  await writeFile(join(workspace, "probes"), `${lines.join("\n")}\necho finished\n`);
  return prey;
}

/** The agent ran the script and wrote its output to `told.txt`. */
export async function assertNoBreach({ workspace }: Place, { outside }: Prey): Promise<void> {
  const told = await readFile(join(workspace, "told.txt"), "utf8");
  assert.match(told, /^finished$/m);
  assert.doesNotMatch(told, new RegExp(`^${breach}$`, "m"));
  assert.deepEqual(await readdir(outside), ["here"]);
}

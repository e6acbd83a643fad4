import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { chmod, lstat, mkdir, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { objectOf, parseJson, textOf } from "../../text/text.ts";
import { sweptDaily, type ThreadRecords } from "../records.ts";

export interface HomesOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Two servers of one user must not share a directory. */
  readonly dataDir: string;
}

/** The files of one issue's agent. */
export interface ClaudeHome {
  /** The value of CLAUDE_CONFIG_DIR: the agent's own, so nothing in it is trusted. */
  readonly config: string;
  /** Symphony's own; the agent cannot write it in the sandbox. */
  readonly own: string;
}

/** How long the sessions of a workspace that is gone are kept, in case its issue is opened again. */
const keptMs = 7 * 86_400_000;
const maxTranscriptBytes = 256 * 1024 * 1024;

/**
 * A private CLAUDE_CONFIG_DIR for each workspace: agents of different issues do not find each
 * other, and none finds the operator's own settings, history and login.
 */
export class ClaudeHomes {
  readonly #options: HomesOptions;
  /** Resolves when unused directories are removed; null before the first start. */
  swept: Promise<void> | null = null;

  constructor(options: HomesOptions) {
    this.#options = options;
  }

  /** Rejects with `agent_unavailable` when the directory cannot be made. */
  async prepare(workspace: string, wall: number): Promise<ClaudeHome> {
    const { base, own, config } = placesOf(workspace, this.#options);
    try {
      for (const dir of [base, own, config]) {
        await mkdir(dir, { recursive: true, mode: 0o700 });
        await chmod(dir, 0o700);
      }
      await writeFile(join(own, "workspace.json"), JSON.stringify({ workspace, wall }));
    } catch (cause) {
      const message = `the private directory of Claude Code cannot be made: ${messageOf(cause)}`;
      throw new SymphonyError("agent_unavailable", message, {
        cause,
        hint: `make ${base} writable`,
      });
    }
    this.swept ??= sweptDaily(base, wall, () => sweep(base, wall));
    return { config, own };
  }
}

function placesOf(workspace: string, { env, dataDir }: HomesOptions) {
  const base = join(env["HOME"] || homedir(), ".symphony", "claude", sha(dataDir));
  const own = join(base, sha(workspace));
  return { base, own, config: join(own, "config") };
}

/** The CLAUDE_CONFIG_DIR of the agents of a workspace, which holds their sessions. */
export function agentsHomeOf(workspace: string, options: HomesOptions): string {
  return placesOf(workspace, options).config;
}

/** Claude Code looks for a record in a directory that it names by the path of the workspace. */
export async function threadRecords(
  workspace: string,
  { clock, ...options }: HomesOptions & { readonly clock: Pick<Clock, "wall"> },
): Promise<ThreadRecords> {
  const { config } = await new ClaudeHomes(options).prepare(workspace, clock.wall());
  const root = join(config, "projects");
  await mkdir(root, { recursive: true, mode: 0o700 });
  const directory = workspace.replaceAll(/[^a-zA-Z0-9]/g, "-");
  // A longer name ends with a hash of its own.
  return { root, directoryFor: () => (directory.length > 200 ? null : directory) };
}

/** Removes the directories of workspaces that have been gone for long. */
async function sweep(base: string, wall: number): Promise<void> {
  for (const name of await readdir(base)) {
    const text = await readFile(join(base, name, "workspace.json"), "utf8").catch(() => "");
    const { workspace, wall: usedWall } = objectOf(parseJson(text));
    const path = textOf(workspace);
    if (path === null || typeof usedWall !== "number" || wall - usedWall < keptMs) continue;
    if ((await lstat(path).catch(() => null)) !== null) continue;
    await rm(join(base, name), { recursive: true, force: true, maxRetries: 3 });
  }
}

/** The recorded conversation of a session; null when there is none. */
export async function transcriptOf(home: ClaudeHome, threadId: string): Promise<string | null> {
  const projects = join(home.config, "projects");
  const names: readonly string[] = await readdir(projects).catch(() => []);
  for (const name of names) {
    const text = await plainFile(join(projects, name, `${threadId}.jsonl`), maxTranscriptBytes);
    if (text !== null) return text;
  }
  return null;
}

/** The text of a regular file, never through a link: an agent may have chosen its target. */
export async function plainFile(path: string, maxBytes: number): Promise<string | null> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(path, flags).catch(() => null);
  if (handle === null) return null;
  await using reading = handle;
  const stats = await reading.stat();
  if (!stats.isFile()) return null;
  const { buffer, bytesRead } = await reading.read({
    buffer: Buffer.alloc(Math.min(stats.size, maxBytes)),
    position: 0,
  });
  return buffer.toString("utf8", 0, bytesRead);
}

function sha(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

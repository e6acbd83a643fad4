import { messageOf, SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";

// Builtins are loaded where they are used: an import by name costs every command some ms at its start.

type Asking = Pick<CommandContext, "stdin" | "stderr" | "interactive">;

/** `value`, or all of stdin where it is `-`, without the newline that ends the last line. */
export async function textOrStdin(
  value: string,
  { stdin }: Pick<Asking, "stdin">,
): Promise<string> {
  if (value !== "-") return value;
  const chunks: Buffer[] = [];
  for await (const chunk of stdin) chunks.push(Buffer.from(chunk));
  return utf8Of(Buffer.concat(chunks), "the input").replace(/\r?\n$/, "");
}

/** Text as it is stored: a byte that is not UTF-8 would silently become another character. Throws `usage`. */
function utf8Of(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new SymphonyError("usage", `${what} is not UTF-8 text`, {
      cause,
      hint: "convert it, for example with iconv -t UTF-8; bytes that are no text can be passed as base64",
    });
  }
}

/** The text of a file that was named on the command line. Rejects with `usage` where it cannot be read. */
export async function textOfFile(path: string, cwd: string): Promise<string> {
  const { resolve } = process.getBuiltinModule("node:path");
  const { readFile } = process.getBuiltinModule("node:fs/promises");
  const file = resolve(cwd, path);
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new SymphonyError("usage", `Cannot read ${file}: ${messageOf(cause)}`, { cause });
  });
  return utf8Of(bytes, file);
}

export interface Question {
  readonly message: string;
  /** How to give the answer on the command line, for the error without a terminal. */
  readonly instead: string;
}

/** Asks on the terminal, on stderr. Rejects with `usage` without one, so that no command waits unnoticed for input. */
export async function ask({ message, instead }: Question, context: Asking): Promise<string> {
  if (!context.interactive) {
    throw new SymphonyError("usage", `${message} is missing, and there is no terminal to ask on`, {
      hint: instead,
    });
  }
  const { input } = await import("@inquirer/prompts");
  return input({ message, required: true }, { input: context.stdin, output: context.stderr });
}

/** An answer that may be empty, asked as in `ask`. */
export async function askOptional(
  { message }: Pick<Question, "message">,
  { stdin, stderr }: Asking,
): Promise<string> {
  const { input } = await import("@inquirer/prompts");
  return input({ message }, { input: stdin, output: stderr });
}

type Editing = Pick<CommandContext, "env" | "interactive" | "note">;

export interface Draft {
  readonly text: string;
  /** What the file is called, for the highlighting of the editor. */
  readonly name: string;
  /** How to give the text on the command line, for the error without a terminal. */
  readonly instead: string;
}

/**
 * Opens `draft` in `$VISUAL`, `$EDITOR` or vi and runs `use` on what was written; where `use` fails the file is kept
 * and named. Rejects with `usage` without a terminal, and when the editor fails or leaves nothing.
 */
export async function withEdited<T>(
  draft: Draft,
  context: Editing,
  use: (text: string) => Promise<T>,
): Promise<T> {
  if (!context.interactive) {
    throw new SymphonyError("usage", "There is no text, and no terminal to open an editor on", {
      hint: draft.instead,
    });
  }
  const { mkdtemp, rm } = process.getBuiltinModule("node:fs/promises");
  const { tmpdir } = process.getBuiltinModule("node:os");
  const { join } = process.getBuiltinModule("node:path");
  const dir = await mkdtemp(join(tmpdir(), "symphony-edit-"));
  const file = join(dir, draft.name);
  const done = await edited(file, draft, context).catch(async (error: unknown) => {
    await rm(dir, { recursive: true, force: true });
    throw error;
  });
  try {
    const result = await use(done);
    await rm(dir, { recursive: true, force: true });
    return result;
  } catch (error) {
    context.note(`What you wrote is kept in ${file}`);
    throw error;
  }
}

async function edited(file: string, { text, instead }: Draft, { env }: Editing): Promise<string> {
  const { readFile, writeFile } = process.getBuiltinModule("node:fs/promises");
  await writeFile(file, text === "" ? "" : `${text}\n`, { mode: 0o600 });
  const editor = env["VISUAL"] || env["EDITOR"] || "vi";
  await openEditor(editor, file, instead);
  const written = utf8Of(await readFile(file), file).replace(/\r?\n$/, "");
  if (written.trim() === "") throw new SymphonyError("usage", "Nothing was written");
  return written;
}

/** Runs the editor on `file` until it is closed. Rejects with `usage` when it fails; the hint then names `instead`. */
export async function openEditor(editor: string, file: string, instead: string): Promise<void> {
  const { spawn } = process.getBuiltinModule("node:child_process");
  const { once } = process.getBuiltinModule("node:events");
  // Through the shell: the variable may hold options, as in `code --wait`.
  const child = spawn("sh", ["-c", `${editor} "$1"`, "sh", file], { stdio: "inherit" });
  const [code] = await once(child, "close");
  if (code === 0) return;
  throw new SymphonyError("usage", `The editor "${editor}" ended with ${code}`, {
    hint: `set EDITOR, or use ${instead}`,
  });
}

/** A program that a person works with on this terminal. */
export interface Program {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What to do when it cannot be started. */
  readonly hint: string;
}

/**
 * Runs `program` until the person leaves it, with whatever status; it is never one that an agent has put into `cwd`.
 * Rejects with `usage` when it cannot be started.
 */
export async function openProgram({
  file: named,
  args,
  cwd,
  env: own,
  hint,
}: Program): Promise<void> {
  const { spawn } = process.getBuiltinModule("node:child_process");
  const { once } = process.getBuiltinModule("node:events");
  // Ctrl-C is for the program and what it runs: this process has to be there when it ends.
  const ignore = () => {};
  process.on("SIGINT", ignore);
  const { resolve } = process.getBuiltinModule("node:path");
  const file = named.includes("/") ? resolve(named) : named;
  const env = guarded(own, cwd);
  try {
    await once(spawn(file, args, { stdio: "inherit", cwd, env }), "close");
  } catch (cause) {
    throw new SymphonyError("usage", `"${file}" cannot be run: ${messageOf(cause)}`, {
      cause,
      hint,
    });
  } finally {
    process.off("SIGINT", ignore);
  }
}

/**
 * Places of PATH that are relative, empty or within `dir` would be the agent's; git, which prompts of shells ask, starts no
 * monitor that a repository names (https://git-scm.com/docs/git-config#Documentation/git-config.txt-corefsmonitor).
 */
function guarded(env: Program["env"], dir: string): Program["env"] {
  const { isAbsolute, resolve } = process.getBuiltinModule("node:path");
  const { realpathSync } = process.getBuiltinModule("node:fs");
  const real = (place: string) => {
    try {
      return realpathSync(place);
    } catch {
      return resolve(place);
    }
  };
  const own = `${real(dir)}/`;
  const isForeign = (place: string) => isAbsolute(place) && !`${real(place)}/`.startsWith(own);
  const count = Number(env["GIT_CONFIG_COUNT"]) || 0;
  const path = env["PATH"]?.split(":").filter(isForeign).join(":");
  return {
    ...env,
    // An empty one is the current directory.
    PATH: path === "" ? undefined : path,
    GIT_CONFIG_COUNT: String(count + 1),
    [`GIT_CONFIG_KEY_${count}`]: "core.fsmonitor",
    [`GIT_CONFIG_VALUE_${count}`]: "false",
  };
}

const openers: Readonly<Record<string, string>> = { darwin: "open", linux: "xdg-open" };

/** Without a program that opens addresses, the printed one has to do. */
export async function showInBrowser(
  url: string,
  { note }: Pick<CommandContext, "note">,
): Promise<void> {
  const opener = openers[process.platform];
  if (opener === undefined) return;
  const { spawn } = process.getBuiltinModule("node:child_process");
  const { once } = process.getBuiltinModule("node:events");
  const child = spawn(opener, [url], { stdio: "ignore" });
  const [code] = await once(child, "close").catch(() => [null]);
  if (code !== 0) note("No browser could be opened here");
}

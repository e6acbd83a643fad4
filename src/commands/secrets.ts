import type { Command } from "commander";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { findProject } from "./discover.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { withHint } from "./issue-hints.ts";
import { closest } from "./suggest.ts";
import { textOrStdin } from "./text-input.ts";

const nameArgument = [
  "<name>",
  "as the configuration names it after $, such as LINEAR_API_KEY",
] as const;
const namePattern = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;

/** A change of the key, as the API says it. */
export interface KeyRotation {
  readonly key_id: string;
  readonly previous_key_id: string;
  readonly secrets: number;
  readonly rotated_at: string;
}

/** Where secrets are kept: on a server, or straight in a project's data directory. */
export interface SecretsDesk {
  list(): Promise<readonly string[]>;
  put(name: string, value: string): Promise<{ readonly key: string; readonly updated_at: string }>;
  remove(name: string): Promise<void>;
  rotate(): Promise<KeyRotation>;
  close(): Promise<void>;
}

export function declareSecrets(command: Command, run: Run): void {
  examples(
    command,
    "symphony secrets add LINEAR_API_KEY",
    "pass show linear | symphony secrets add LINEAR_API_KEY",
    "symphony secrets list",
  );
  examples(
    command.command("list").description("print the names of the secrets, never a value"),
    "symphony secrets list",
  ).action(() => run(listSecrets));
  examples(
    command
      .command("add")
      .description("store a secret: asked for without showing it, or read from stdin"),
    "symphony secrets add LINEAR_API_KEY",
    "pass show linear | symphony secrets add LINEAR_API_KEY",
  )
    .argument(...nameArgument)
    // The parser's own refusal would print the value.
    .allowExcessArguments()
    .action((name: string, _: unknown, { args }: Command) =>
      run((context) => {
        if (args.length > 1) throw valueAsArgument(name);
        return addSecret(name, context);
      }),
    );
  examples(
    command.command("remove").description("remove a secret"),
    "symphony secrets remove LINEAR_API_KEY",
  )
    .argument(...nameArgument)
    .action((name: string) => run((context) => removeSecret(name, context)));
  declareKey(command, run);
}

function declareKey(command: Command, run: Run): void {
  examples(
    command.command("rotate").description("seal every secret with a new key"),
    "symphony secrets rotate",
    "SYMPHONY_MASTER_KEY=OLD SYMPHONY_MASTER_KEY_NEXT=NEW symphony secrets rotate",
  ).action(() =>
    run(async (context) =>
      (await import("./secrets-key.ts")).rotateKey(context, (work) => atSecrets(context, work)),
    ),
  );
  examples(
    command
      .command("reset")
      .description("the key is lost: put the secrets aside and begin anew, without a server"),
    "symphony secrets reset --yes",
  ).action(() => run(async (context) => (await import("./secrets-key.ts")).resetKey(context)));
}

function valueAsArgument(name: string): SymphonyError {
  return new SymphonyError(
    "usage",
    "A value is never an argument: others on this machine see those",
    {
      hint: `symphony secrets add ${name} asks for it, or reads it from stdin`,
    },
  );
}

export async function listSecrets(context: CommandContext): Promise<number> {
  const keys = await atSecrets(context, (desk) => desk.list());
  if (context.json) context.printJson({ keys });
  else if (keys.length > 0) context.print(keys.join("\n"));
  else context.note("There are no secrets; symphony secrets add NAME stores one");
  return exitCodes.done;
}

export async function addSecret(name: string, context: CommandContext): Promise<number> {
  if (!namePattern.test(name)) {
    throw new SymphonyError("usage", "That is not a name", {
      hint: "letters, digits and _, as in LINEAR_API_KEY; the value is asked for, or comes by stdin",
    });
  }
  const value = await valueFor(name, context);
  if (value === "") throw new SymphonyError("usage", `${name} would be empty`);
  const stored = await atSecrets(context, (desk) => desk.put(name, value));
  if (context.json) context.printJson({ key: stored.key, updated_at: stored.updated_at });
  context.note(`${name} is stored; the configuration names it as $${name}`);
  return exitCodes.done;
}

export async function removeSecret(name: string, context: CommandContext): Promise<number> {
  await atSecrets(context, async (desk) => {
    try {
      await desk.remove(name);
    } catch (error) {
      if (!(error instanceof SymphonyError) || error.code !== "secret_not_found") throw error;
      const meant = closest(name, await desk.list());
      throw withHint(error, meant === null ? "symphony secrets list" : `did you mean ${meant}?`);
    }
  });
  if (context.json) context.printJson({ key: name, removed: true });
  context.note(`${name} is removed`);
  return exitCodes.done;
}

/** Never an argument: other users of the machine see those. */
async function valueFor(name: string, context: CommandContext): Promise<string> {
  if (!context.stdin.isTTY) return textOrStdin("-", context);
  if (!context.interactive) {
    throw new SymphonyError("needs_person", "The value is missing, and nothing may be asked", {
      hint: `pipe it in: pass show linear | symphony secrets add ${name}`,
    });
  }
  const { password } = await import("@inquirer/prompts");
  const streams = { input: context.stdin, output: context.stderr };
  return password({ message: `Value of ${name}`, mask: false }, streams);
}

/** A server of this project gets the call, so that it takes effect at once; else the project's own store is opened. */
async function atSecrets<T>(
  context: CommandContext,
  work: (desk: SecretsDesk) => Promise<T>,
): Promise<T> {
  const { certain } = await context.discovery();
  const project = certain ? null : findProject(context.where);
  const desk =
    project === null ? await serverDesk(context) : await offlineDesk(project.dataDir, context);
  try {
    return await work(desk);
  } finally {
    await desk.close();
  }
}

async function serverDesk(context: CommandContext): Promise<SecretsDesk> {
  const { secrets, key: sealing } = await context.client();
  return {
    list: async () => (await secrets.list()).keys,
    put: (key, value) => secrets.put({ params: { key }, body: { value } }),
    remove: (key) => secrets.remove({ params: { key } }),
    rotate: () => sealing.rotate(),
    close: async () => {},
  };
}

async function offlineDesk(dataDir: string, context: CommandContext): Promise<SecretsDesk> {
  const { openOfflineSecrets } = await import("./offline-secrets.ts");
  context.note(`No server runs here; using the secrets in ${dataDir}`);
  return openOfflineSecrets(dataDir, context.env);
}

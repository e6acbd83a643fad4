import type { Command } from "commander";
import { SymphonyError } from "../core/model/errors.ts";
import type { KeyRotation, SecretsAccess } from "./access.ts";
import { type CommandContext, findDataDir, findProject, type Run } from "./context.ts";
import { closest, exitCodes, withHint } from "./failure.ts";
import { examples } from "./help.ts";
import { textOrStdin } from "./input.ts";

const nameArgument = [
  "<name>",
  "as the configuration names it after $, such as LINEAR_API_KEY",
] as const;
const namePattern = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;

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
  ).action(() => run((context) => rotateKey(context, (work) => atSecrets(context, work))));
  examples(
    command
      .command("reset")
      .description("the key is lost: put the secrets aside and begin anew, without a server"),
    "symphony secrets reset --yes",
  ).action(() => run(resetKey));
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
  work: (desk: SecretsAccess) => Promise<T>,
): Promise<T> {
  const { certain } = await context.discovery();
  const project = certain ? null : findProject(context.where);
  const desk =
    project === null
      ? await serverSecrets(context)
      : await offlineSecretsAccess(project.dataDir, context);
  try {
    return await work(desk);
  } finally {
    await desk.close();
  }
}

async function serverSecrets(context: CommandContext): Promise<SecretsAccess> {
  const { secrets, key: sealing } = await context.client();
  return {
    list: async () => (await secrets.list()).keys,
    put: (key, value) => secrets.put({ params: { key }, body: { value } }),
    remove: (key) => secrets.remove({ params: { key } }),
    rotate: () => sealing.rotate(),
    close: async () => {},
  };
}

async function offlineSecretsAccess(
  dataDir: string,
  context: CommandContext,
): Promise<SecretsAccess> {
  const { openOfflineSecrets } = await import("./offline-secrets.ts");
  context.note(`No server runs here; using the secrets in ${dataDir}`);
  return openOfflineSecrets(dataDir, context.env);
}

/** Seals everything anew, on the server or straight in the project's store. */
export async function rotateKey(
  context: CommandContext,
  at: (work: (desk: SecretsAccess) => Promise<KeyRotation>) => Promise<KeyRotation>,
): Promise<number> {
  const rotation = await at((desk) => desk.rotate());
  if (context.json) context.printJson(rotation);
  const { secrets, key_id: now, previous_key_id: before } = rotation;
  const many = secrets === 1 ? "1 secret is" : `${secrets} secrets are`;
  context.note(`${many} sealed with the new key ${now}; the key ${before} opens nothing any more`);
  return exitCodes.done;
}

/** Never through a server: one that runs has the key. */
export async function resetKey(context: CommandContext): Promise<number> {
  const dataDir = findDataDir(context.where);
  if (dataDir === null) {
    throw new SymphonyError("usage", "there is no data directory here", {
      hint: "symphony secrets reset --yes --data-dir DIR",
    });
  }
  if (!(await agreed(dataDir, context))) {
    context.note("Nothing was changed");
    return exitCodes.failed;
  }
  const { resetOffline } = await import("./offline-secrets.ts");
  const moved = await resetOffline(dataDir);
  if (context.json) context.printJson({ data_dir: dataDir, moved });
  context.note(
    moved.length === 0
      ? `There are no secrets in ${dataDir}`
      : `Put aside in ${dataDir}: ${moved.join(", ")}; symphony secrets add NAME makes a new key`,
  );
  return exitCodes.done;
}

async function agreed(dataDir: string, context: CommandContext): Promise<boolean> {
  if (context.yes) return true;
  if (!context.interactive) {
    throw new SymphonyError("needs_person", `${dataDir} would be without its secrets`, {
      hint: "symphony secrets reset --yes",
    });
  }
  const { confirm } = await import("@inquirer/prompts");
  const message = `Put the secrets in ${dataDir} aside?`;
  return confirm({ message, default: false }, { input: context.stdin, output: context.stderr });
}

import { SymphonyError, withHint } from "../core/model/errors.ts";
import type { SecretsAccess } from "./access.ts";
import { type CommandContext, findProject } from "./context.ts";
import { filesFor } from "./data-dir.ts";
import { exitCodes, hintAt } from "./failure.ts";
import { textOrStdin } from "./input.ts";
import { row, subcommand } from "./table.ts";

const nameArgument = {
  name: "name",
  summary: "as the configuration names it after $, such as TRACKER_API_KEY",
} as const;
const namePattern = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;

const listRow = subcommand({
  name: "list",
  summary: "print the names of the secrets, never a value",
  examples: ["symphony secrets list"],
  call: async (_, context) => ({ keys: await atSecrets(context, (access) => access.list()) }),
  print({ keys }, { print, note }) {
    if (keys.length > 0) print(keys.join("\n"));
    else note("There are no secrets; symphony secrets add NAME stores one");
  },
});

const addRow = subcommand({
  name: "add",
  summary: "store a secret: typed without being shown, or read from stdin",
  examples: [
    "symphony secrets add TRACKER_API_KEY",
    "pass show tracker | symphony secrets add TRACKER_API_KEY",
  ],
  arguments: [nameArgument],
  refuseExcess: ({ name }) => valueAsArgument(name),
  async call({ name }, context) {
    if (!namePattern.test(name)) {
      throw new SymphonyError("usage", "That is not a name", {
        hint: "letters, digits and _, as in TRACKER_API_KEY; the value is typed at a prompt, or read from stdin",
      });
    }
    const value = await valueFor(name, context);
    if (value === "") {
      throw new SymphonyError("usage", `${name} would be empty`, {
        hint: `type it at the prompt, or: printf %s "$${name}" | symphony secrets add ${name}`,
      });
    }
    const { key, updated_at } = await atSecrets(context, (access) => access.put(name, value));
    return { key, updated_at };
  },
  print: (_, { note }, { name }) =>
    note(`${name} is stored; the configuration names it as $${name}. symphony doctor checks it`),
});

const removeRow = subcommand({
  name: "remove",
  summary: "remove a secret",
  examples: ["symphony secrets remove TRACKER_API_KEY"],
  arguments: [nameArgument],
  async call({ name: key }, context) {
    await atSecrets(context, async (access) => {
      try {
        await access.remove(key);
      } catch (error) {
        if (!(error instanceof SymphonyError) || error.code !== "secret_not_found") throw error;
        throw withHint(error, hintAt(key, await access.list(), "symphony secrets list"));
      }
    });
    return { key, removed: true };
  },
  print: ({ key }, { note }) =>
    note(`${key} is removed; symphony config check names what still needs it`),
});

/** Seals every secret with a new key, on the server or directly in the project's store. */
const rotateRow = subcommand({
  name: "rotate",
  summary: "seal every secret with a new key",
  examples: [
    "symphony secrets rotate",
    "SYMPHONY_MASTER_KEY=OLD SYMPHONY_MASTER_KEY_NEXT=NEW symphony secrets rotate",
  ],
  call: (_, context) => atSecrets(context, (access) => access.rotate()),
  print({ secrets, key_id: now, previous_key_id: before }, { note }) {
    const many = secrets === 1 ? "1 secret is" : `${secrets} secrets are`;
    note(
      `${many} sealed with the new key ${now}; the key ${before} no longer opens any. symphony doctor opens each`,
    );
  },
});

/** Never through a server: a running server has the key. */
const resetRow = subcommand({
  name: "reset",
  summary: "for a lost key: move the secrets aside, with no server running",
  examples: ["symphony secrets reset --yes"],
  async call(_, context) {
    const dataDir = await filesFor("symphony secrets reset --yes", context);
    if (!(await agreed(dataDir, context))) return null;
    const { resetOffline } = await import("./offline-secrets.ts");
    return { data_dir: dataDir, moved: await resetOffline(dataDir) };
  },
  print(done, { note }) {
    if (done === null) note("Nothing was changed");
    else if (done.moved.length === 0) note(`There are no secrets in ${done.data_dir}`);
    else {
      const moved = done.moved.join(", ");
      note(`Moved aside in ${done.data_dir}: ${moved}; symphony secrets add NAME makes a new key`);
    }
  },
  exitCode: (done) => (done === null ? exitCodes.failed : exitCodes.done),
});

/** Stores secrets and removes them; changes the key that seals them. */
export const secretsCommand = row({
  examples: [
    "symphony secrets add TRACKER_API_KEY",
    "pass show tracker | symphony secrets add TRACKER_API_KEY",
    "symphony secrets list",
  ],
  commands: [listRow, addRow, removeRow, rotateRow, resetRow],
});

function valueAsArgument(name: string): SymphonyError {
  return new SymphonyError(
    "usage",
    "A value cannot be an argument: other users of this machine can read arguments",
    {
      hint: `symphony secrets add ${name} asks for it, or reads it from stdin`,
    },
  );
}

/** Never read from an argument: other users of the machine can read arguments. */
async function valueFor(name: string, context: CommandContext): Promise<string> {
  if (!context.stdin.isTTY) return textOrStdin("-", context);
  if (!context.interactive) {
    throw new SymphonyError(
      "needs_person",
      "The value is missing, and this command may not prompt for it",
      {
        hint: `pipe it in: pass show tracker | symphony secrets add ${name}`,
      },
    );
  }
  const { password } = await import("@inquirer/prompts");
  const streams = { input: context.stdin, output: context.stderr };
  return password({ message: `Value of ${name}`, mask: false }, streams);
}

/** Uses the server of this project, so that a change takes effect at once; else opens the project's own store. */
async function atSecrets<T>(
  context: CommandContext,
  work: (access: SecretsAccess) => Promise<T>,
): Promise<T> {
  const { certain } = await context.discovery();
  const project = certain ? null : findProject(context.where);
  const access =
    project === null
      ? await serverSecrets(context)
      : await offlineSecretsAccess(project.dataDir, context);
  try {
    return await work(access);
  } finally {
    await access.close();
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

async function agreed(dataDir: string, context: CommandContext): Promise<boolean> {
  if (context.yes) return true;
  if (!context.interactive) {
    throw new SymphonyError(
      "needs_person",
      `This moves the secrets in ${dataDir} aside and needs a confirmation`,
      {
        hint: "symphony secrets reset --yes",
      },
    );
  }
  const { confirm } = await import("@inquirer/prompts");
  const message = `Move the secrets in ${dataDir} aside?`;
  return confirm({ message, default: false }, { input: context.stdin, output: context.stderr });
}

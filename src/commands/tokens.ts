import { SymphonyError, withHint } from "../core/model/errors.ts";
import { type Role, roles } from "../core/model/role.ts";
import { hintAt } from "./failure.ts";
import { type Cell, printPage, relative } from "./output.ts";
import { row, subcommand } from "./table.ts";
import { parseDuration } from "./when.ts";

const nameArgument = {
  name: "name",
  summary: "whose it is: a person or a program, as the audit log is to show it",
} as const;

const listRow = subcommand({
  name: "list",
  summary: "list the named tokens, never a value",
  examples: ["symphony tokens list", "symphony tokens list --json | jq -r '.tokens[].name'"],
  call: async (_, context) => (await context.client()).tokens.list(),
  async print({ tokens }, context) {
    if (tokens.length === 0)
      return context.note("There are none; symphony tokens add NAME --role operate makes one");
    await printPage(
      {
        columns: [
          { title: "NAME" },
          { title: "ROLE" },
          { title: "MADE", drop: 1 },
          { title: "EXPIRES", flexible: true },
        ],
        rows: tokens.map(({ name, role, created_at, expires_at, expired }): Cell[] => [
          name,
          role,
          relative(created_at, Date.now()),
          expired ? { text: `expired ${expires_at}`, style: "red" } : (expires_at ?? "never"),
        ]),
      },
      context,
    );
  },
});

const addRow = subcommand({
  name: "add",
  summary: "make a token for one person or program, and print it once",
  examples: [
    "symphony tokens add ada --role operate --expires 90d",
    "symphony tokens add dashboard --role read --json | jq -r .token",
  ],
  arguments: [nameArgument],
  options: [
    {
      name: "role",
      value: "role",
      summary: "read: look; operate: act on issues; admin: also settings, secrets and tokens",
      required: true,
      choices: roles,
    },
    {
      name: "expires",
      value: "duration",
      summary: "how long it is valid, such as 12h or 90d; without it: until it is removed",
      read: parseDuration,
    },
  ],
  call: async ({ name, role, expires }, context) =>
    (await context.client()).tokens.add({
      body: {
        ...{ name, role },
        valid_seconds: expires === undefined ? null : Math.round(expires / 1_000),
      },
    }),
  print({ token, name, role, expires_at: until }, context) {
    context.print(token);
    const end = until === null ? `until symphony tokens remove ${name}` : `until ${until}`;
    context.note(`It is shown this once, and valid ${end}. ${name} may ${means[role]}:`);
    context.note("  SYMPHONY_TOKEN=<token> symphony state --url <URL of this server>");
  },
});

const means: Readonly<Record<Role, string>> = {
  read: "look at everything",
  operate: "look, and act on issues and the queue",
  admin: "do everything",
};

const removeRow = subcommand({
  name: "remove",
  summary: "remove a token: it admits no request any more, at once",
  examples: ["symphony tokens remove ada"],
  arguments: [nameArgument],
  async call({ name }, context) {
    const { tokens } = await context.client();
    try {
      await tokens.remove({ params: { name } });
    } catch (error) {
      if (!(error instanceof SymphonyError) || error.code !== "token_not_found") throw error;
      const known = (await tokens.list()).tokens.map((one) => one.name);
      throw withHint(error, hintAt(name, known, "symphony tokens list"));
    }
    return { name, removed: true };
  },
  print: ({ name }, { note }) => note(`The token of ${name} is removed; its open streams ended`),
});

/** Tokens with a name and a role, for people and programs. */
export const tokensCommand = row({
  examples: ["symphony tokens add ada --role operate --expires 90d", "symphony tokens list"],
  commands: [listRow, addRow, removeRow],
});

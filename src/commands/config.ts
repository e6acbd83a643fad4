import { SymphonyError } from "../core/model/errors.ts";
import { exitCodes, hintAt } from "./failure.ts";
import { jsonText, plain, printPage } from "./output.ts";
import { overlayCommand, partArgument, valueAt, valueText } from "./overlay.ts";
import { atOption, row, subcommand } from "./table.ts";

/** Prints the configuration in force: one value as it is, several as a table of dotted paths. */
const configGet = subcommand({
  name: "get",
  summary: "print the configuration in force, or one part of it",
  examples: [
    "symphony config get",
    "symphony config get agent.max_turns",
    "symphony config get codex --origin",
    "symphony config get agent --at 24h",
  ],
  arguments: [partArgument],
  options: [{ name: "origin", summary: "say where each value comes from" }, atOption],
  async call({ path, origin: withOrigin, at }, context) {
    const query = at === undefined ? {} : { at };
    const { config, origins } = await (await context.client()).config.show({ query });
    const value = path === undefined ? config : valueAt(config, path);
    if (value === undefined) throw unknownPath(path ?? "", Object.keys(origins));
    const below = Object.entries(origins).filter(([key]) => isWithin(key, path));
    return { config, value, below, withOrigin };
  },
  document: ({ value, below, withOrigin }) =>
    withOrigin ? { value, origins: Object.fromEntries(below) } : value,
  async print({ config, value, below, withOrigin }, context, { path }) {
    if (!withOrigin && below.length <= 1 && below[0]?.[0] === path) {
      context.print(valueText(value));
      return;
    }
    const rows = below.map(([key, from]) => [
      key,
      jsonText(valueAt(config, key), 0),
      ...(withOrigin ? [from] : []),
    ]);
    const columns = [
      { title: "KEY" },
      { title: "VALUE", flexible: true },
      ...(withOrigin ? [{ title: "ORIGIN" }] : []),
    ];
    await printPage({ columns, rows }, context);
  },
});

/** The whole check that a start makes, without a start. */
const configCheck = subcommand({
  name: "check",
  summary: "check a workflow file as a whole: every fault at once, with its place",
  examples: [
    "symphony config check",
    "symphony config check team/WORKFLOW.md --json",
    "symphony config check --offline     the file alone, as in CI",
  ],
  arguments: [
    {
      name: "file",
      summary: "the workflow file (default: ./WORKFLOW.md)",
      optional: true,
      completion: "files",
    },
  ],
  options: [
    {
      name: "offline",
      summary: "ask neither this machine for the agent nor the tracker for its states",
    },
    {
      name: "allow-unknown",
      summary: "a key that narrows what runs, caps it or chooses an agent is only a warning",
    },
  ],
  async call(given, context) {
    const { checkFile } = await import("./config-check.ts");
    return checkFile(given, context);
  },
  async print(report, context) {
    const { printCheck } = await import("./config-check.ts");
    printCheck(report, context);
  },
  exitCode: ({ ok }) => (ok ? exitCodes.done : exitCodes.failed),
});

const configMigrate = subcommand({
  name: "migrate",
  summary: "translate the keys of other tools in a workflow file",
  examples: [
    "symphony config migrate WORKFLOW.md                  print the translated file",
    "symphony config migrate WORKFLOW.md --out NEW.md     write it to a new file",
    "symphony config migrate WORKFLOW.md --in-place       change the file itself",
  ],
  arguments: [{ name: "file", summary: "the workflow file", completion: "files" }],
  options: [
    { name: "out", value: "file", summary: "write there; the file must not exist yet" },
    { name: "in-place", summary: "change the file itself" },
  ],
  async call(given, context) {
    const { migrateFile } = await import("./config-check.ts");
    return migrateFile(given, context);
  },
  async print(result, context) {
    const { printMigrated } = await import("./config-check.ts");
    printMigrated(result, context);
  },
  // A key that is left as it is needs a person.
  exitCode: ({ left }) => (left.length > 0 ? exitCodes.needsPerson : exitCodes.done),
});

/** Shows the configuration, and changes the overlay on top of it. */
export const configCommand = row({
  examples: [
    "symphony config get agent.max_turns",
    "symphony config get --origin",
    "symphony config overlay set agent.max_turns 5",
  ],
  commands: [
    configCheck,
    configMigrate,
    configGet,
    subcommand({
      name: "schema",
      summary: "print the configuration's JSON Schema",
      examples: ["symphony config schema > symphony.schema.json"],
      call: async (_, context) => (await context.client()).config.schema(),
      print: (schema, { printJson }) => printJson(schema),
    }),
    subcommand({
      name: "path",
      summary: "print where the workflow file is",
      examples: ["symphony config path", '"$EDITOR" "$(symphony config path)"'],
      async call(_, context) {
        const { workflow_path } = await (await context.client()).system.runtime();
        return { workflow_path };
      },
      print: ({ workflow_path: path }, { print }) => print(plain(path)),
    }),
    overlayCommand,
  ],
});

function unknownPath(path: string, known: readonly string[]): SymphonyError {
  const sections = known.map((key) => key.slice(0, Math.max(key.lastIndexOf("."), 0)));
  const all = [...new Set([...known, ...sections])].filter((key) => key !== "");
  return new SymphonyError("not_found", `There is no ${path}`, {
    hint: hintAt(path, all, "symphony config get lists every key"),
  });
}

function isWithin(key: string, path: string | undefined): boolean {
  return path === undefined || key === path || key.startsWith(`${path}.`);
}

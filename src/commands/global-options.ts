/** The options of every command, as data: the help of the program is printed without loading a parser. */
export const globalOptions: readonly {
  readonly flags: string;
  readonly description: string;
  readonly choices?: readonly string[];
}[] = [
  {
    flags: "--url <url>",
    description:
      "server to talk to (default: SYMPHONY_URL, else the project's own, else http://127.0.0.1:4000)",
  },
  {
    flags: "--data-dir <dir>",
    description:
      "data directory of the project (default: SYMPHONY_DATA_DIR, else .symphony upward from here)",
  },
  { flags: "--json", description: "print one JSON document; streams print one to a line" },
  { flags: "--quiet", description: "print no messages beside the data" },
  { flags: "--debug", description: "print where an error came from" },
  {
    flags: "--color <when>",
    description: "colour the output: auto, always or never (default: auto)",
    choices: ["auto", "always", "never"],
  },
  { flags: "--no-input", description: "never ask; fail where an answer is needed" },
  { flags: "--yes", description: "answer every confirmation with yes" },
  { flags: "-h, --help", description: "print this help" },
  { flags: "-V, --version", description: "print the version" },
];

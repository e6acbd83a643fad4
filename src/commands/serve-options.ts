/** What `symphony serve` was asked for; null means "not said", so that the configuration decides. */
export interface ServeOptions {
  /** As typed; null is `./WORKFLOW.md`. */
  readonly workflowPath: string | null;
  /** 0 asks for any free port. */
  readonly port: number | null;
  readonly host: string | null;
  /** As typed; null is SYMPHONY_DATA_DIR, else `.symphony` beside the workflow file. */
  readonly dataDir: string | null;
  /** One poll and its runs, then exit by outcome. */
  readonly once: boolean;
  /** Print what would run, and why the rest would not; start nothing. */
  readonly dryRun: boolean;
  /** Agents may do everything: `agent.level: danger` is meant. */
  readonly understood: boolean;
  readonly logFormat: "text" | "json";
  /** The address to register with the tracker. */
  readonly webhookUrl: string | null;
  /** Refuse to serve unless turns outlive a restart. */
  readonly restartSafe: boolean;
}

/** What `symphony demo` was asked for. */
export interface DemoOptions {
  /** 0 asks for any free port; null is the usual one. */
  readonly port: number | null;
}

/** The outside of a command: streams, environment and the options every command has. */
export interface CommandIo {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly debug: boolean;
  /** Confirmations are answered with yes. */
  readonly yes: boolean;
  /** A person can be asked: a terminal on both sides, and no `--no-input` or `--json`. */
  readonly interactive: boolean;
  /** Human text on stdout may be coloured. */
  readonly colour: boolean;
}

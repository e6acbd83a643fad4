/** The steps of a scripted program for agent.kind command in a turn, in order. */
export type CommandStep =
  | { readonly do: "say"; readonly text: string }
  | { readonly do: "run"; readonly command: string }
  /** Tokens of one request to a model. */
  | { readonly do: "use"; readonly input: number; readonly output: number }
  /** Waits for guidance and takes it up. */
  | { readonly do: "guided" }
  | { readonly do: "write"; readonly line: object };

export interface CommandTurn {
  readonly steps: readonly CommandStep[];
  /** The line that ends the turn; default: success. */
  readonly result?: object;
  /** Last words on stderr before it exits with 1. */
  readonly fails?: string;
}

export interface CommandScript {
  /** The last turn is repeated. */
  readonly turns: readonly CommandTurn[];
}

/** An agent as a worker has checked it on its machine. */
export interface WorkerAgent {
  readonly agent: string;
  /** Why nothing can be started with it there, as a part of a sentence; null: it can. */
  readonly trouble: string | null;
}

/** A worker of the fleet, as attempts are placed on it and people see it. */
export interface WorkerHost {
  readonly name: string;
  /** The machine's own name; null: it has not come yet. */
  readonly host: string | null;
  readonly labels: readonly string[];
  /** Attempts at the same time. */
  readonly capacity: number;
  readonly running: number;
  /** It takes new attempts. */
  readonly ready: boolean;
  /** Why it takes none; null: it does. */
  readonly why: string | null;
  /** What it can run; an agent that is not named is not checked yet. null: it checks none. */
  readonly agents: readonly WorkerAgent[] | null;
  readonly version: string | null;
  /** Since when it is there, or lost; epoch ms. */
  readonly sinceWall: number;
}

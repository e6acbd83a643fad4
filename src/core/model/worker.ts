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
  readonly version: string | null;
  /** Since when it is there, or lost; epoch ms. */
  readonly sinceWall: number;
}

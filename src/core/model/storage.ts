/** Why some writes are not on disk, and how many there are. */
export interface StorageTrouble {
  readonly reason: string;
  readonly waiting: number;
  readonly sinceWall: number;
}

/** The same as people read it, wherever it is shown. */
export function unsavedText({ reason, waiting }: Omit<StorageTrouble, "sinceWall">): string {
  if (waiting === 0) return `cannot save: ${reason}`;
  return `cannot save: ${reason}; ${waiting} ${waiting === 1 ? "write waits" : "writes wait"}`;
}

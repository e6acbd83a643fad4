import type { Board } from "./board.ts";
import type { RepositoryIssues } from "./repository.ts";

export const hiddenItem = "item that the token may not see";

/** What the last read of the board left out, such as `2 drafts`; null: nothing. */
export function leftOutOf(board: Board, repositories: readonly RepositoryIssues[]): string | null {
  let others = 0;
  for (const [name, count] of board.places ?? []) {
    const [owner = "", repo = ""] = name.split("/");
    if (!repositories.some((one) => one.isAt({ owner, repo }))) others += count;
  }
  const counts = [...Object.entries(board.others), ["issue of another repository", others]];
  const words = (counts as [string, number][]).flatMap(([what, count]) =>
    count === 0 ? [] : counted(count, what),
  );
  return words.join(", ") || null;
}

export function counted(count: number, what: string): string {
  return `${count} ${count === 1 ? what : what.replace(/^(draft|pull request|item|issue)/, "$1s")}`;
}

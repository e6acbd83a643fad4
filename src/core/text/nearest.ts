/** The known name nearest to `word`, if it is near enough to be a typing error: at most `limitOf` its name steps away. */
export function nearest(
  word: string,
  known: Iterable<string>,
  limitOf = (name: string) => Math.max(1, Math.floor(name.length / 4)),
): string | null {
  let best: { readonly name: string; readonly distance: number } | null = null;
  for (const name of known) {
    const distance = editDistance(word, name);
    const near = distance <= limitOf(name);
    if (near && (best === null || distance < best.distance)) best = { name, distance };
  }
  return best?.name ?? null;
}

/** As `nearest` for names whose case and outer blanks do not count, such as those of states; the name as it is in `known`. */
export function nearestName(word: string, known: readonly string[]): string | null {
  const plain = (name: string) => name.trim().toLowerCase();
  const forms = known.map(plain);
  const near = nearest(plain(word), forms);
  return near === null ? null : (known[forms.indexOf(near)] ?? null);
}

/**
 * Insertions, deletions, replacements and exchanges of two neighbours from one text to the other (optimal string alignment):
 * `trakcer` is one step from `tracker`.
 */
function editDistance(from: string, to: string): number {
  let before: number[] = [];
  let above = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const line = [row];
    for (let column = 1; column <= to.length; column++) {
      const same = from[row - 1] === to[column - 1];
      const replaced = (above[column - 1] ?? 0) + (same ? 0 : 1);
      const crossed =
        row > 1 &&
        column > 1 &&
        from[row - 1] === to[column - 2] &&
        from[row - 2] === to[column - 1];
      const exchanged = crossed ? (before[column - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY;
      line.push(
        Math.min(replaced, exchanged, (above[column] ?? 0) + 1, (line[column - 1] ?? 0) + 1),
      );
    }
    before = above;
    above = line;
  }
  return above[to.length] ?? 0;
}

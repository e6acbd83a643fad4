import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";

/** The file that a shell starts for a name or an absolute path; null: there is none. */
export async function findProgram(program: string, path: string): Promise<string | null> {
  const places = program.includes("/")
    ? [program].filter(isAbsolute)
    : path
        .split(":")
        .filter(isAbsolute)
        .map((dir) => join(dir, program));
  for (const place of places) {
    const stats = await stat(place).catch(() => null);
    if (!stats?.isFile()) continue;
    if (
      await access(place, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return place;
  }
  return null;
}

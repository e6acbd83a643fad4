import { resolve } from "node:path";
import { filesFor } from "./data-dir.ts";
import { size } from "./kept.ts";
import { plainLine } from "./output.ts";
import { row } from "./table.ts";

const fileArgument = {
  name: "file",
  summary: "one file that holds the records of a project",
  completion: "files",
} as const;

/** Copies what cannot be made again into one file, also while the server runs. */
export const backupCommand = row({
  examples: [
    "symphony backup symphony-2026-07-27.backup",
    "symphony backup /mnt/nightly.backup --json",
  ],
  arguments: [{ ...fileArgument, summary: "a new file" }],
  async call({ file }, context) {
    const dataDir = await filesFor("symphony backup FILE", context);
    const { backUp } = await import("../core/store/backup.ts");
    const target = resolve(context.where.cwd, file);
    const files = await backUp(dataDir, target);
    return { file: target, data_dir: dataDir, files };
  },
  print({ file, files }, { note }) {
    note(`${named(files)} of records are in ${plainLine(file)}, read back and checked`);
    note(
      "Secrets are in it as they are stored, encrypted. Their key is not: keep secrets.key or SYMPHONY_MASTER_KEY apart from it",
    );
    note(
      `Workspaces and mirrors are not in it. next: symphony restore ${plainLine(file)} puts it back, without a running server`,
    );
  },
});

/** Puts the files of a backup in the place of those that are there, which are kept. */
export const restoreCommand = row({
  examples: ["symphony restore symphony-2026-07-27.backup"],
  arguments: [{ ...fileArgument, summary: "a file that symphony backup wrote" }],
  async call({ file }, context) {
    const dataDir = await filesFor("symphony restore FILE", context, true);
    const { restoreUnlocked } = await import("../core/store/backup.ts");
    const { requireReadable } = await import("../core/doctor/data-checks.ts");
    const backup = resolve(context.where.cwd, file);
    return { data_dir: dataDir, ...(await restoreUnlocked(dataDir, backup, requireReadable)) };
  },
  print({ files, aside }, { note }) {
    note(`${named(files)} of records are restored`);
    note(`What was there before is in ${plainLine(aside)}. next: symphony doctor`);
  },
});

function named(files: readonly { readonly bytes: number }[]): string {
  const bytes = files.reduce((sum, one) => sum + one.bytes, 0);
  return `${files.length} ${files.length === 1 ? "file" : "files"} with ${size(bytes)}`;
}

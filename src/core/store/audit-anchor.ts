import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { translate } from "./sqlite-errors.ts";

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const Head = z.object({
  seq: z.number().int().min(1),
  hash: hex,
  /** Made with the key `kid` over both. */
  seal: z.object({ kid: z.string(), mac: hex }).optional(),
});

/** The newest audit entry, as a file beside the log says it. */
export type AuditHead = z.output<typeof Head>;

/** The second file that a cut log is found by. */
export function auditHeadFile(dataDir: string): string {
  return join(dataDir, "audit.head");
}

/** null where there is no such file, or none that can be understood. Throws `storage_unavailable`. */
export function readAuditHead(file: string): AuditHead | null {
  const found = translate(file, () => {
    try {
      return readFileSync(file, "utf8");
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
      throw error;
    }
  });
  try {
    return Head.parse(JSON.parse(found));
  } catch {
    return null;
  }
}

/** On disk when it returns, as a whole or not at all. Throws `storage_unavailable`. */
export function writeAuditHead(file: string, head: AuditHead): void {
  translate(file, () => {
    const temporary = `${file}.tmp`;
    const fd = openSync(temporary, "w", 0o600);
    try {
      writeSync(fd, `${JSON.stringify(head)}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
    const dir = openSync(dirname(file), "r");
    try {
      fsyncSync(dir);
    } finally {
      closeSync(dir);
    }
  });
}

import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const sandbox = new URL("../fakes/sandbox-exec.ts", import.meta.url).pathname;

/**
 * Writes doubles of the programs of macOS into `dir`, and returns a PATH with them. Processes of programs named in
 * `restricted` show no environment, as those of macOS itself.
 */
export function macPath(dir: string, restricted = "-"): string {
  const ps = `#!/bin/sh
case "$1" in
  -axww) shift; exec /usr/bin/ps axww "$@" ;;
  -axwwE) shift; /usr/bin/ps axeww "$@" | sed -E 's/^( *[0-9]+ ${restricted}[^=]*) [A-Z_]+=.*$/\\1/' ;;
  *) echo "ps: illegal option" >&2; exit 1 ;;
esac
`;
  const programs = {
    ps,
    "sandbox-exec": `#!/bin/sh\nexec '${process.execPath}' '${sandbox}' "$@"\n`,
  };
  for (const [name, text] of Object.entries(programs)) {
    writeFileSync(join(dir, name), text);
    chmodSync(join(dir, name), 0o755);
  }
  return `${dir}:${process.env["PATH"]}`;
}

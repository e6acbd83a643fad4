import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { findDataDir } from "./discover.ts";
import { exitCodes } from "./exit-codes.ts";
import type { KeyRotation, SecretsDesk } from "./secrets.ts";

/** Seals everything anew, on the server or straight in the project's store. */
export async function rotateKey(
  context: CommandContext,
  at: (work: (desk: SecretsDesk) => Promise<KeyRotation>) => Promise<KeyRotation>,
): Promise<number> {
  const rotation = await at((desk) => desk.rotate());
  if (context.json) context.printJson(rotation);
  const { secrets, key_id: now, previous_key_id: before } = rotation;
  const many = secrets === 1 ? "1 secret is" : `${secrets} secrets are`;
  context.note(`${many} sealed with the new key ${now}; the key ${before} opens nothing any more`);
  return exitCodes.done;
}

/** Never through a server: one that runs has the key. */
export async function resetKey(context: CommandContext): Promise<number> {
  const dataDir = findDataDir(context.where);
  if (dataDir === null) {
    throw new SymphonyError("usage", "there is no data directory here", {
      hint: "symphony secrets reset --yes --data-dir DIR",
    });
  }
  if (!(await agreed(dataDir, context))) {
    context.note("Nothing was changed");
    return exitCodes.failed;
  }
  const { resetOffline } = await import("./offline-secrets.ts");
  const moved = await resetOffline(dataDir);
  if (context.json) context.printJson({ data_dir: dataDir, moved });
  context.note(
    moved.length === 0
      ? `There are no secrets in ${dataDir}`
      : `Put aside in ${dataDir}: ${moved.join(", ")}; symphony secrets add NAME makes a new key`,
  );
  return exitCodes.done;
}

async function agreed(dataDir: string, context: CommandContext): Promise<boolean> {
  if (context.yes) return true;
  if (!context.interactive) {
    throw new SymphonyError("needs_person", `${dataDir} would be without its secrets`, {
      hint: "symphony secrets reset --yes",
    });
  }
  const { confirm } = await import("@inquirer/prompts");
  const message = `Put the secrets in ${dataDir} aside?`;
  return confirm({ message, default: false }, { input: context.stdin, output: context.stderr });
}

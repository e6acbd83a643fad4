import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SymphonyError } from "../core/model/errors.ts";
import { overlayIn, readOverlay, writeOverlay } from "./config-overlay.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { jsonText } from "./json-text.ts";
import { openEditor } from "./text-editor.ts";

/**
 * Opens the overlay in the operator's editor and stores what comes out of it. When that is refused, or somebody else has
 * changed the overlay meanwhile, nothing is stored and the edited file stays for a second try.
 */
export async function editOverlay(context: CommandContext): Promise<number> {
  const editor = context.env["VISUAL"] || context.env["EDITOR"];
  if (!editor) {
    throw new SymphonyError("usage", "No editor is set", {
      hint: "EDITOR=vi symphony config overlay edit, or symphony config overlay set PATH VALUE",
    });
  }
  const server = await context.server();
  const { overlay, etag } = await readOverlay(server);
  const dir = mkdtempSync(join(tmpdir(), "symphony-overlay-"));
  const file = join(dir, "overlay.json");
  const before = `${jsonText(overlay)}\n`;
  writeFileSync(file, before, { mode: 0o600 });
  await openEditor(editor, file, "symphony config overlay set PATH VALUE");
  const after = readFileSync(file, "utf8");
  if (after === before) {
    context.note("Nothing was changed");
  } else {
    try {
      const stored = await writeOverlay(server, { overlay: overlayIn(after), etag });
      if (context.json) context.printJson(stored.overlay);
      context.note("The overlay is replaced");
    } catch (error) {
      throw keeping(error, file);
    }
  }
  rmSync(dir, { recursive: true });
  return exitCodes.done;
}

function keeping(error: unknown, file: string): unknown {
  if (!(error instanceof SymphonyError)) return error;
  const { code, message, details } = error;
  const hint = `what you wrote is in ${file}; look at it and use symphony config overlay replace ${file}`;
  return new SymphonyError(code, message, { cause: error, details, hint });
}

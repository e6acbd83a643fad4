import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../model/errors.ts";
import { displayText } from "../../text/text.ts";
import { PathError, pathInside, readInside } from "./files.ts";
import { applyPatch, PatchError } from "./patch.ts";
import {
  argumentsSchema,
  numberArgument,
  optionalText,
  type Tool,
  type ToolDeps,
  ToolError,
  textArgument,
} from "./toolbox.ts";

const maxReadBytes = 10 * 1024 * 1024;
const maxShownChars = 64_000;
const maxLineChars = 2_000;
const maxEntries = 1_000;
const maxDepth = 8;
const skipped: ReadonlySet<string> = new Set([".git", "node_modules"]);

/** `read_file`, `list_files` and `apply_patch`: only inside the workspace; no link is followed. */
export function fileTools(deps: ToolDeps): readonly Tool[] {
  return [readFileTool(deps), listFilesTool(deps), applyPatchTool(deps)];
}

function readFileTool({ workspace }: ToolDeps): Tool {
  return {
    readsOnly: true,
    spec: {
      name: "read_file",
      description: "Reads a text file of the workspace; its lines come with their numbers.",
      inputSchema: argumentsSchema(
        {
          path: { type: "string", description: "relative to the workspace" },
          offset: { type: "number", description: "first line, 1 if omitted" },
          limit: { type: "number", description: "number of lines, 500 if omitted" },
        },
        ["offset", "limit"],
      ),
    },
    async run(args) {
      const path = textArgument(args, "path");
      const offset = numberArgument(args, "offset", { fallback: 1, min: 1, max: 10_000_000 });
      const limit = numberArgument(args, "limit", { fallback: 500, min: 1, max: 5_000 });
      const place = await pathInside(workspace, path).catch(refuse);
      const content = await readInside(place, maxReadBytes).catch(refuse);
      if (content.subarray(0, 8_000).includes(0)) throw new ToolError(`${path} is not a text file`);
      return numbered(content.toString("utf8"), offset, limit);
    },
  };
}

function numbered(text: string, offset: number, limit: number): string {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const shown: string[] = [];
  let chars = 0;
  for (const [index, line] of lines.slice(offset - 1, offset - 1 + limit).entries()) {
    const row = `${offset + index}\t${line.length > maxLineChars ? `${line.slice(0, maxLineChars)}…` : line}`;
    chars += row.length + 1;
    if (chars > maxShownChars) break;
    shown.push(row);
  }
  const next = offset + shown.length;
  if (next <= lines.length)
    shown.push(`[${lines.length} lines in all; continue with offset ${next}]`);
  return shown.join("\n") || "[no such lines, or an empty file]";
}

function listFilesTool({ workspace }: ToolDeps): Tool {
  return {
    readsOnly: true,
    spec: {
      name: "list_files",
      description:
        "Lists files and directories of the workspace; .git and node_modules are not entered.",
      inputSchema: argumentsSchema(
        {
          path: { type: "string", description: "a directory, the workspace if omitted" },
          depth: { type: "number", description: "levels below it, 2 if omitted" },
        },
        ["path", "depth"],
      ),
    },
    async run(args) {
      const depth = numberArgument(args, "depth", { fallback: 2, min: 1, max: maxDepth });
      const place = await pathInside(workspace, optionalText(args, "path") ?? ".").catch(refuse);
      if (!place.stats) throw new ToolError(`${place.path}: no such directory`);
      if (!place.stats.isDirectory()) return place.path;
      const found: string[] = [];
      await list(place.absolute, { prefix: "", depth, found });
      if (found.length >= maxEntries) found.push(`[only the first ${maxEntries} entries]`);
      return found.join("\n") || "[empty]";
    },
  };
}

async function list(
  dir: string,
  { prefix, depth, found }: { prefix: string; depth: number; found: string[] },
): Promise<void> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (found.length >= maxEntries) return;
    const path = `${prefix}${entry.name}`;
    found.push(entry.isDirectory() ? `${path}/` : entry.isSymbolicLink() ? `${path}@` : path);
    if (!entry.isDirectory() || depth <= 1 || skipped.has(entry.name)) continue;
    await list(join(dir, entry.name), { prefix: `${path}/`, depth: depth - 1, found });
  }
}

function applyPatchTool({ workspace, emit }: ToolDeps): Tool {
  return {
    readsOnly: false,
    spec: {
      name: "apply_patch",
      description: patchDescription,
      inputSchema: argumentsSchema({
        input: { type: "string", description: "the whole patch, from '*** Begin Patch' on" },
      }),
    },
    async run(args) {
      const { changes } = await applyPatch(workspace, textArgument(args, "input")).catch(refuse);
      const paths = changes.map(({ path }) => displayText(path, 500));
      emit({ type: "file_change", status: "completed", paths });
      return ["done:", ...changes.map(({ mark, path }) => `${mark} ${path}`)].join("\n");
    },
  };
}

const patchDescription = `Changes files of the workspace: all of the patch or nothing. Its format:
*** Begin Patch
*** Add File: path
+every line of the new file
*** Update File: path
*** Move to: new path (optional)
@@ a line above the change, such as the head of its function (optional text)
 three unchanged lines around it
-a line to remove
+a line to add
*** Delete File: path
*** End Patch
Paths are relative to the workspace.`;

/** An error of the model, or of the workspace's state, is reported to the model. */
function refuse(error: unknown): never {
  const known = error instanceof PathError || error instanceof PatchError;
  const system = error instanceof Error && "code" in error && typeof error.code === "string";
  if (known || system) throw new ToolError(known ? error.message : messageOf(error));
  throw error;
}

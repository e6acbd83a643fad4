import type { GlobalOptions } from "./context.ts";

/**
 * The options of a plain `symphony state`, or null when there is more to read than this knows. Prompts and status
 * lines run that command every second, and reading it by hand takes a third less time than loading commander does.
 */
export function quickState(argv: readonly string[]): GlobalOptions | null {
  const options: { json?: boolean; url?: string; dataDir?: string } = {};
  const names: string[] = [];
  for (let index = 0; index < argv.length; index += 1) {
    const one = argv[index] ?? "";
    const value = argv[index + 1];
    if (one === "--json") options.json = true;
    else if (!one.startsWith("-")) names.push(one);
    else if ((one !== "--url" && one !== "--data-dir") || value === undefined) return null;
    else {
      options[one === "--url" ? "url" : "dataDir"] = value;
      index += 1;
    }
  }
  if (names.length !== 1 || names[0] !== "state") return null;
  return { ...options, color: "auto", input: true };
}

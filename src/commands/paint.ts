/** How human text is set off. Without colour every style leaves its text as it is. */
export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan" | "magenta";
export type Paint = Readonly<Record<Style, (text: string) => string>>;

type Environment = Readonly<Record<string, string | undefined>>;

const asIs = (text: string) => text;

export const noPaint: Paint = {
  bold: asIs,
  dim: asIs,
  red: asIs,
  green: asIs,
  yellow: asIs,
  cyan: asIs,
  magenta: asIs,
};

/** Whether to colour: `--color`, then `FORCE_COLOR`, `NO_COLOR`, `TERM=dumb`, then whether it is a terminal. */
export function wantsColour(
  when: "auto" | "always" | "never",
  env: Environment,
  isTerminal: boolean,
): boolean {
  if (when !== "auto") return when === "always";
  const forced = env["FORCE_COLOR"];
  if (forced !== undefined) return forced !== "0" && forced !== "false";
  if (env["NO_COLOR"]) return false;
  return isTerminal && env["TERM"] !== "dumb";
}

/** chalk costs more to load than a whole command takes, so it is loaded only to colour something. */
export async function paintFor(colour: boolean): Promise<Paint> {
  if (!colour) return noPaint;
  const { Chalk } = await import("chalk");
  return new Chalk({ level: 1 });
}

const statusStyles: Readonly<Record<string, Style>> = {
  queued: "cyan",
  running: "green",
  retrying: "yellow",
  blocked: "magenta",
  held: "dim",
  failed: "red",
  completed: "dim",
};

export function statusStyle(status: string): Style {
  return statusStyles[status] ?? "bold";
}

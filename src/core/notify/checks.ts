import type { Problem } from "../config/finding.ts";
import type { NotifyRule } from "../config/notify.ts";
import type { Redactor } from "../text/redact.ts";
import { desktopProgram, type ProgramDeps, programAt } from "./programs.ts";
import { secretOf } from "./receivers.ts";
import { addressFault } from "./sending.ts";

interface SettingDeps {
  lookup(name: string): string | undefined;
  readonly redactor: Pick<Redactor, "add">;
}

/** Secrets that are not set, and addresses that cannot be used. Warnings: a server does without notices. */
export function noticeProblems(
  rules: readonly NotifyRule[],
  deps: SettingDeps,
): readonly Problem[] {
  return rules.flatMap(({ urlSecret, signingSecret }, at) => [
    ...secretProblems(`notify.${at}.url`, urlSecret, deps, addressFault),
    ...secretProblems(`notify.${at}.secret`, signingSecret, deps, () => null),
  ]);
}

function secretProblems(
  path: string,
  name: string | null,
  deps: SettingDeps,
  faultOf: (value: string) => string | null,
): readonly Problem[] {
  if (name === null) return [];
  const value = secretOf(name, deps);
  const fault = value === null ? "is not set" : faultOf(value);
  if (fault === null) return [];
  const message = `${path}: ${name} ${fault}, so its notices wait`;
  return [{ path, message, severity: "warning", next: `symphony secrets add ${name}` }];
}

/** Programs of receivers that are not on this machine. */
export async function noticeProgramProblems(
  rules: readonly NotifyRule[],
  deps: Pick<ProgramDeps, "env" | "workflowPath" | "platform">,
): Promise<readonly Problem[]> {
  const found = await Promise.all(
    rules.map(async ({ to, command }, at): Promise<readonly Problem[]> => {
      const name =
        to === "desktop" ? desktopProgram(deps.platform) : to === "command" ? command[0] : null;
      if (name == null || (await programAt(name, deps)) !== null) return [];
      const path = to === "desktop" ? `notify.${at}.to` : `notify.${at}.command`;
      const message = `${path}: there is no program ${name} on this machine, so its notices are not shown`;
      return [{ path, message, severity: "warning", next: `install ${name}` }];
    }),
  );
  return found.flat();
}

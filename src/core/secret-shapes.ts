/**
 * What tokens of well-known services look like, for those that nobody told us. Each is read from left to right without
 * going back, so hostile text costs no more than its length.
 */
export const secretShapes = new RegExp(
  [
    "(?<![A-Za-z0-9])sk-(?:proj|svcacct|admin|ant)-[\\w-]{16,}",
    "(?<![A-Za-z0-9])sk-[A-Za-z0-9]{32,}",
    "(?<![A-Za-z0-9])(?:github_pat_\\w{20,}|gh[opsur]_[A-Za-z0-9]{20,}|glpat-[\\w-]{20,})",
    "(?<![A-Za-z0-9])lin_(?:api|oauth|wh)_\\w{16,}",
    "(?<![A-Za-z0-9])xox[abeoprs]-[\\w-]{16,}",
    "(?<![A-Za-z0-9])A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    "(?<![\\w-])eyJ[\\w-]{8,}\\.eyJ[\\w-]{8,}\\.[\\w-]{8,}",
    "-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[A-Za-z0-9+/=\\s\\\\]*(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?",
  ].join("|"),
  "g",
);

const keyBegins = /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----/;
const keyEnds = /-----END [A-Z ]{0,40}PRIVATE KEY-----/;
const keyLine = /^[A-Za-z0-9+/=:,\s-]*$/;

/** Passes lines on to `log`, those of a private key as a mark: alone, none of them looks like one. */
export function withoutKeyLines(log: (line: string) => void): (line: string) => void {
  let inside = false;
  return (line) => {
    inside = keyBegins.test(line) || (inside && keyLine.test(line));
    log(inside ? "[redacted]" : line);
    if (keyEnds.test(line)) inside = false;
  };
}

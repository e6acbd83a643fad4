// Hours in which something is open, by the clocks of a time zone.

/** When new attempts may start, by the clocks of one time zone. */
export interface ActiveHours {
  /** Days of the week on which a window begins; 0 is Sunday. */
  readonly days: readonly number[];
  /** Minutes of the day. A window whose end is before its beginning ends on the next day. */
  readonly fromMinute: number;
  /** At most 1,440. */
  readonly toMinute: number;
  /** An IANA zone, such as `Europe/Berlin`. */
  readonly tz: string;
}

/** Whether work may start, and until when that stays so. */
export interface Opening {
  readonly open: boolean;
  readonly untilWall: number;
}

/** In the order of their numbers. */
export const dayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const minuteMs = 60_000;
export const minutesOfDay = 1_440;
/** A window at least once a week, and one that a clock change left out. */
const horizonMs = 15 * 86_400_000;

/** Whether the hours are open at `wall` (epoch ms), and the next moment at which that changes. Pure. */
export function openingAt(hours: ActiveHours, wall: number): Opening {
  const open = isOpen(hours, wall);
  let at = Math.floor(wall / minuteMs) * minuteMs + minuteMs;
  while (at < wall + horizonMs) {
    const steps = mayChangeWithin(hours, at) ? 60 : 1;
    const length = steps === 1 ? 60 * minuteMs : minuteMs;
    for (let step = 0; step < steps; step++, at += length) {
      if (isOpen(hours, at) !== open) return { open, untilWall: at };
    }
  }
  return { open, untilWall: at };
}

/** Whether the clocks reach an edge, or are changed, within an hour. */
function mayChangeWithin({ fromMinute, toMinute, tz, ...rest }: ActiveHours, at: number): boolean {
  const { minute } = clockAt(tz, at);
  const next = clockAt(tz, at + 60 * minuteMs).minute;
  if ((minute + 60) % minutesOfDay !== next) return true;
  const edges = rest.days.length === 7 ? [fromMinute, toMinute] : [fromMinute, toMinute, 0];
  return edges.some((edge) => (edge - minute + minutesOfDay) % minutesOfDay < 60);
}

function isOpen({ days, fromMinute, toMinute, tz }: ActiveHours, wall: number): boolean {
  const { day, minute } = clockAt(tz, wall);
  if (fromMinute < toMinute) return days.includes(day) && minute >= fromMinute && minute < toMinute;
  const begunToday = days.includes(day) && minute >= fromMinute;
  return begunToday || (days.includes((day + 6) % 7) && minute < toMinute);
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** What the clocks of a zone show. */
function clockAt(tz: string, wall: number): { readonly day: number; readonly minute: number } {
  let format = formats.get(tz);
  if (!format) {
    const time = { weekday: "short", hour: "2-digit", minute: "2-digit" } as const;
    format = new Intl.DateTimeFormat("en-US", { timeZone: tz, hourCycle: "h23", ...time });
    formats.set(tz, format);
  }
  const parts = new Map(format.formatToParts(wall).map(({ type, value }) => [type, value]));
  const day = dayNames.indexOf((parts.get("weekday") ?? "").toLowerCase());
  return { day, minute: Number(parts.get("hour")) * 60 + Number(parts.get("minute")) };
}

/** Such as `Mon, Tue 09:00 to 17:00 Europe/Berlin`. */
export function hoursText({ days, fromMinute, toMinute, tz }: ActiveHours): string {
  const names = days.map((day) => {
    const name = dayNames[day] ?? "";
    return `${name.charAt(0).toUpperCase()}${name.slice(1)}`;
  });
  const which = days.length === 7 ? "every day" : names.join(", ");
  return `${which} ${clockText(fromMinute)} to ${clockText(toMinute)} ${tz}`;
}

function clockText(minutes: number): string {
  const two = (value: number) => String(value).padStart(2, "0");
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}

import { z } from "zod";
import { type ActiveHours, dayNames, minutesOfDay } from "../model/hours.ts";

const text = z.string("must be text");

const timeOfDay = text.refine(
  (value) => minuteOf(value) !== null,
  "must be a time of day, such as 09:00 or 24:00",
);

const dayList = z
  .union([text, z.array(text)], "must be a list of days, or text such as mon-fri")
  .refine((value) => daysOf(value) !== null, "must name days: mon, tue, wed, thu, fri, sat, sun");

const zone = z
  .string({
    error: ({ input }) =>
      input === undefined ? "is required, such as Europe/Berlin" : "must be text",
  })
  .refine(
    isZone,
    "must be a time zone such as Europe/Berlin (an IANA name that this machine knows)",
  );

/** `agent.active_hours`. */
export const activeHours = z
  .strictObject(
    {
      days: dayList.default("mon-sun"),
      from: timeOfDay.default("00:00"),
      to: timeOfDay.default("24:00"),
      tz: zone,
    },
    "must be a map of days, from, to, tz and nothing else",
  )
  .refine(({ from, to }) => minuteOf(from) !== minuteOf(to), {
    path: ["to"],
    message: "must differ from `from`; a whole day is 00:00 to 24:00",
  });

export function activeHoursOf(written: z.output<typeof activeHours> | null): ActiveHours | null {
  if (written === null) return null;
  return {
    days: daysOf(written.days) ?? [],
    fromMinute: minuteOf(written.from) ?? 0,
    toMinute: minuteOf(written.to) ?? minutesOfDay,
    tz: written.tz,
  };
}

function isZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

function minuteOf(value: string): number | null {
  const [, hour = "", minute = ""] = /^(\d{1,2}):(\d\d)$/.exec(value.trim()) ?? [];
  if (hour === "" || Number(minute) > 59) return null;
  const minutes = Number(hour) * 60 + Number(minute);
  return minutes > minutesOfDay ? null : minutes;
}

/** The days of a list of names and ranges such as `mon-fri`; null when a word is none. */
function daysOf(value: string | readonly string[]): readonly number[] | null {
  const words = (typeof value === "string" ? value.split(",") : value).map((word) => word.trim());
  const found = new Set<number>();
  for (const word of words) {
    const [from, to, ...more] = word.split("-").map(dayOf);
    if (from == null || to === null || more.length > 0) return null;
    const length = to === undefined ? 0 : (to - from + 7) % 7;
    for (let step = 0; step <= length; step++) found.add((from + step) % 7);
  }
  return found.size === 0 ? null : [...found].sort();
}

function dayOf(word: string): number | null {
  const name = word.trim().toLowerCase();
  const isDay = /^(?:sun|mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?)(?:day)?$/.test(name);
  const day = dayNames.indexOf(name.slice(0, 3));
  return isDay && day >= 0 ? day : null;
}

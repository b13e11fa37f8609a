import pc from 'picocolors';

/**
 * Colour for people only: a terminal, unless NO_COLOR or TERM=dumb say otherwise (https://no-color.org), or FORCE_COLOR asks for it.
 * picocolors alone also colours wherever CI is set, and an answer that is piped into another program must be plain there too.
 */
const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
export const colors = pc.createColors(!NO_COLOR && (Boolean(FORCE_COLOR) || (process.stdout.isTTY === true && TERM !== 'dumb')));

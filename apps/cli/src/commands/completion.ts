import { type Command, InvalidArgumentError } from 'commander';
import type { CommandContext } from './context.ts';

const HELP = `
Examples:
  source <(mizzen completion bash)
  source <(mizzen completion zsh)
`;

/** `completion`: a script that completes commands, subcommands and flags; it knows those of the version that wrote it. */
export function addCompletionCommand(program: Command, context: CommandContext): void {
  program
    .command('completion')
    .argument('<shell>', 'bash or zsh', parseShell)
    .description('print a script that completes command lines in a shell')
    .addHelpText('after', HELP)
    .action((shell: string) => context.print(completionScript(program, shell)));
}

function parseShell(text: string): string {
  if (text !== 'bash' && text !== 'zsh') throw new InvalidArgumentError('It must be bash or zsh.');
  return text;
}

/** One case for each command path, `proxy-config routes`, with the words that may follow. */
export function completionScript(program: Command, shell: string): string {
  const cases = pathsOf(program, []).map(({ path, words }) => `    "${path}") words="${words.join(' ')}" ;;`);
  const head = shell === 'zsh' ? 'autoload -U +X bashcompinit && bashcompinit\n' : '';
  return `${head}_mizzen() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path="" words="" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _mizzen mizzen
`;
}

function pathsOf(command: Command, path: readonly string[]): { path: string; words: string[] }[] {
  const flags = command.options.flatMap(({ long }) => (long ? [long] : []));
  const own = { path: path.join(' '), words: [...command.commands.map((child) => child.name()), ...flags, '--help'] };
  return [own, ...command.commands.flatMap((child) => pathsOf(child, [...path, child.name()]))];
}

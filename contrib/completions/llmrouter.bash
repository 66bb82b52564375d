# bash completion for llmrouter, made by contrib/cli.py
_llmrouter() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} path="" word
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ $word == -* ]] || path+="$word "
    done
    case $prev in
    --format) COMPREPLY=($(compgen -W "openai anthropic ollama responses embeddings embed" -- "$cur")); return ;;
    --log-format) COMPREPLY=($(compgen -W "auto plain journal json" -- "$cur")); return ;;
    --log-level) COMPREPLY=($(compgen -W "debug info warning error" -- "$cur")); return ;;
    --config) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --key-file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --request) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    esac
    case $path in
    "selftest "*) COMPREPLY=($(compgen -W "-h --help --debug --json" -- "$cur")); COMPREPLY+=($(compgen -f -- "$cur")) ;;
    "provider "*) COMPREPLY=($(compgen -W "-h --help --debug --url --key-env --timeout list pause resume drain" -- "$cur")) ;;
    "explain "*) COMPREPLY=($(compgen -W "-h --help --debug --model --prompt --request --format --tag --provider --client --url --key-env --json" -- "$cur")); COMPREPLY+=($(compgen -f -- "$cur")) ;;
    "service "*) COMPREPLY=($(compgen -W "-h --help --debug --user --socket --config --force print install uninstall" -- "$cur")) ;;
    "version "*) COMPREPLY=($(compgen -W "-h --help --debug --sbom" -- "$cur")) ;;
    "replay "*) COMPREPLY=($(compgen -W "-h --help --debug --config --since --limit --all --json --send --url --concurrency --key-env" -- "$cur")); COMPREPLY+=($(compgen -f -- "$cur")) ;;
    "launch "*) COMPREPLY=($(compgen -W "-h --help --debug --url --model --key-env --print claude codex copilot opencode qwen" -- "$cur")) ;;
    "serve "*) COMPREPLY=($(compgen -W "-h --help --debug --host --port --workers --log-level --log-format --watch-config --check" -- "$cur")); COMPREPLY+=($(compgen -f -- "$cur")) ;;
    "check "*) COMPREPLY=($(compgen -W "-h --help --debug --online --offline --allow --seconds --json" -- "$cur")); COMPREPLY+=($(compgen -f -- "$cur")) ;;
    "stats "*) COMPREPLY=($(compgen -W "-h --help --debug --config --by --since --until --json --csv" -- "$cur")) ;;
    "watch "*) COMPREPLY=($(compgen -W "-h --help --debug --key-file --ca-file --filter --json --brief" -- "$cur")) ;;
    "audit "*) COMPREPLY=($(compgen -W "-h --help --debug --config --key-file --json verify" -- "$cur")) ;;
    "init "*) COMPREPLY=($(compgen -W "-h --help --debug --key --force" -- "$cur")); COMPREPLY+=($(compgen -f -- "$cur")) ;;
    "tui "*) COMPREPLY=($(compgen -W "-h --help --debug --key-file --ca-file --filter" -- "$cur")) ;;
    *) COMPREPLY=($(compgen -W "init serve check explain selftest stats watch tui audit replay launch provider service version --help --version" -- "$cur")) ;;
    esac
}
complete -o filenames -F _llmrouter llmrouter

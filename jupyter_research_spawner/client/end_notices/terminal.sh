# Says in each new terminal when this server ends.  Login shells read this file, each in its own dialect of sh.
case $- in
*i*)
    (
        seconds() { sed -n "s/.*\"$1\": *\([0-9][0-9]*\).*/\1/p" "${RESEARCH_DEADLINE_FILE:-}" 2>/dev/null; }
        ends=$(seconds ends_at_seconds)
        latest=$(seconds hard_ends_at_seconds)
        left=$(((ends - $(date +%s) + 59) / 60))
        [ "$left" -gt 0 ] || exit 0
        printf '%s' "This server ends on $(date -d "@$ends" '+%a %d %b %H:%M %Z'), in $((left / 60)) h $((left % 60)) min."
        if [ "${latest:-0}" -gt "$ends" ]; then
            hub=${JUPYTERHUB_PUBLIC_HUB_URL:-${JUPYTERHUB_BASE_URL:-/}hub/}
            printf '%s' " To extend it, open ${hub}research-spawner/wall-time?server=${JUPYTERHUB_SERVER_NAME:-}"
        fi
        echo
    ) || :
    ;;
esac

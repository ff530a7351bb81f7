# Says in each new terminal when this server ends.  Login shells read this file, each in its own dialect of sh.
case $- in
*i*)
    (
        field() { sed -n "s/.*\"$1\": *$2.*/\1/p" "${RESEARCH_DEADLINE_FILE:-}" 2>/dev/null; }
        ends=$(field ends_at_seconds '\([0-9][0-9]*\)')
        page=$(field extend_path '"\([^"]*\)"')
        left=$(((ends - $(date +%s) + 59) / 60))
        [ "$left" -gt 0 ] || exit 0
        echo "This server ends on $(date -d "@$ends" '+%a %d %b %H:%M %Z'), in $((left / 60)) h $((left % 60)) min."
        if [ -n "$page" ]; then
            hub=${JUPYTERHUB_PUBLIC_HUB_URL:-}
            if [ -n "$hub" ]; then
                printf '%s\n' "To extend it, open ${hub%"${JUPYTERHUB_BASE_URL:-/}hub/"}$page"
            else
                echo "To extend it, press Extend on the hub's home page (in JupyterLab: File, Hub Control Panel)."
            fi
        fi
    ) || :
    ;;
esac

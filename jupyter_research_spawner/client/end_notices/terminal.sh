# Says in each new terminal when this server ends.  Login shells read this file, each in its own dialect of sh.
case $- in
*i*)
    (
        ends=$(sed -n 's/.*"ends_at_seconds": *\([0-9][0-9]*\).*/\1/p' "${RESEARCH_DEADLINE_FILE:-}" 2>/dev/null)
        left=$(((ends - $(date +%s) + 59) / 60))
        [ "$left" -gt 0 ] || exit 0
        when=$(date -d "@$ends" '+%a %d %b %H:%M %Z')
        page=$(sed -n 's/.*"extend_path": *"\([^"\\]*\)".*/\1/p' "$RESEARCH_DEADLINE_FILE")
        echo "This server ends on $when, in $((left / 60)) h $((left % 60)) min.${page:+ To extend it, open $page on the hub.}"
    ) || :
    ;;
esac

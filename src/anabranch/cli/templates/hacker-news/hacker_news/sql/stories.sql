-- One row a story. A story without a link is a question, or tells something by itself.
select
    id,
    "by" as author,
    time,
    title,
    url,
    nullif(lower(regexp_extract(url, '^https?://(?:www\.)?([^/:?#]+)', 1)), '') as site,
    case
        when title like 'Ask HN:%' then 'ask'
        when title like 'Show HN:%' then 'show'
        when url is null then 'text'
        else 'link'
    end as kind,
    score,
    descendants as comments
from items__added
where type = 'story' and state = 'alive'

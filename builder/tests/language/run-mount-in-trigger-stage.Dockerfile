FROM triggers AS base
FROM busybox AS tools

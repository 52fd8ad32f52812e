//! EXPOSE: `port`, `first-last`, each with `/protocol`.

/// Every port of a word, as `port/protocol`.
pub(super) fn ports(text: &str) -> Result<Vec<String>, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("protocol {protocol} of EXPOSE {text} is not tcp, udp or sctp"));
    }
    // Publishing is `run -p`'s; here `host:container` counts for the container's side, as it always has.
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |part: &str| {
        part.parse::<u16>().map_err(|_| format!("port {part} of EXPOSE {text} is not a port number"))
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("range {ports} of EXPOSE {text} is the wrong way round"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::ports;

    #[test]
    fn ranges_expand_and_protocols_are_lower_case() {
        assert_eq!(ports("80"), Ok(vec!["80/tcp".to_owned()]));
        assert_eq!(ports("8000-8001/UDP"), Ok(vec!["8000/udp".to_owned(), "8001/udp".to_owned()]));
        assert_eq!(ports("127.0.0.1:80:8080"), Ok(vec!["8080/tcp".to_owned()]));
        assert_eq!(
            ports("80/http"),
            Err("protocol http of EXPOSE 80/http is not tcp, udp or sctp".to_owned())
        );
        assert_eq!(ports("9-8"), Err("range 9-8 of EXPOSE 9-8 is the wrong way round".to_owned()));
        assert_eq!(ports("web"), Err("port web of EXPOSE web is not a port number".to_owned()));
    }
}

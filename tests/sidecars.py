"Sidecars as darktable, digiKam and Lightroom write them."
PACKET = ('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
          '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
          '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
          '{}</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>')

DARKTABLE = ('<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
             'xmlns:darktable="http://darktable.sf.net/" xmp:Rating="0" darktable:history_end="2">'
             '<darktable:history><rdf:Seq>'
             '<rdf:li darktable:operation="exposure" darktable:params="00&lt;ff"/>'
             '</rdf:Seq></darktable:history></rdf:Description>')

DIGIKAM = ('<rdf:Description rdf:about="" xmlns:digiKam="http://www.digikam.org/ns/1.0/" '
           'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
           '<xmp:Rating>3</xmp:Rating>'
           '<digiKam:TagsList><rdf:Seq><rdf:li>Familie/Zoë</rdf:li></rdf:Seq></digiKam:TagsList>'
           '<dc:subject><rdf:Bag><rdf:li>Zoë</rdf:li><rdf:li>attiqa|noisy</rdf:li></rdf:Bag></dc:subject>'
           '</rdf:Description>')

LIGHTROOM = ('<rdf:Description rdf:about="uuid:1" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" '
             'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/" '
             'xmp:Label="Blue" crs:Exposure2012="+0.35">'
             '<lr:hierarchicalSubject><rdf:Bag><rdf:li>places|sea</rdf:li></rdf:Bag></lr:hierarchicalSubject>'
             '</rdf:Description>')

SIDECARS = {name: PACKET.format(text) for name, text in
            dict(darktable=DARKTABLE, digikam=DIGIKAM, lightroom=LIGHTROOM).items()}
